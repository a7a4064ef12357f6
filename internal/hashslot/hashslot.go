// Package hashslot computes the slots of keys in a Redis Cluster, and reads where its nodes send
// a client.
package hashslot

import "strings"

// Count is the number of slots of a cluster.
const Count = 16384

// Of returns the slot of a key: that of its hash tag, if it has one. See "Redis cluster
// specification", sections "Key distribution model" and "Hash tags".
func Of(key string) int {
	if tag, ok := Tag(key); ok {
		key = tag
	}
	crc := uint16(0) // CRC-16/XMODEM
	for i := range len(key) {
		crc ^= uint16(key[i]) << 8
		for range 8 {
			if crc&0x8000 != 0 {
				crc = crc<<1 ^ 0x1021
			} else {
				crc <<= 1
			}
		}
	}
	return int(crc % Count)
}

// Tag returns the hash tag of a key, the text in its first braces. ok is false when it has
// none. All keys that begin with a prefix that has a tag are in one slot.
func Tag(key string) (tag string, ok bool) {
	_, rest, _ := strings.Cut(key, "{")
	tag, _, ok = strings.Cut(rest, "}")
	return tag, ok && tag != ""
}
