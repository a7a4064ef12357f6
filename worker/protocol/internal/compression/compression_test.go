package compression_test

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"hash/crc32"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/evently/workers/worker/protocol/internal/compression"
)

// vector is one line of what testdata/record.py has written.
type vector struct {
	Method string
	Name   string
	Packed []byte
	Piece  string
	Times  int
}

func (v vector) text() []byte { return bytes.Repeat([]byte(v.Piece), v.Times) }

func vectors(t testing.TB) []vector {
	t.Helper()
	f, err := os.Open("testdata/vectors.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var all []vector
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var v vector
		if err := json.Unmarshal(lines.Bytes(), &v); err != nil {
			t.Fatal(err)
		}
		all = append(all, v)
	}
	if len(all) < 30 {
		t.Fatalf("only %d vectors", len(all))
	}
	return all
}

func method(t testing.TB, name string) compression.Method {
	t.Helper()
	m, ok := compression.ByName(name)
	if !ok {
		t.Fatalf("no method %s", name)
	}
	return m
}

const limit = 1 << 20

// What Python has packed is unpacked, within a limit that is just large enough
// too, and not within one that is smaller.
func TestDecompress(t *testing.T) {
	for _, v := range vectors(t) {
		m, want := method(t, v.Method), v.text()
		if len(want) > limit {
			continue // TestBombs
		}
		for _, limit := range []int{limit, len(want)} {
			got, err := m.Decompress(v.Packed, limit)
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s, %s, limit %d: %d bytes, %v; want %d", v.Method, v.Name, limit, len(got), err, len(want))
			}
		}
		if len(want) == 0 {
			continue
		}
		if _, err := m.Decompress(v.Packed, len(want)-1); !errors.Is(err, compression.ErrTooLarge) {
			t.Errorf("%s, %s, limit too small: %v", v.Method, v.Name, err)
		}
		if strings.Contains(v.Name, "garbage") {
			continue
		}
		for _, n := range []int{0, 1, 5, 20, len(v.Packed) - 1} {
			if got, err := m.Decompress(v.Packed[:min(n, len(v.Packed)-1)], limit); !errors.Is(err, compression.ErrDamaged) {
				t.Errorf("%s, %s, cut to %d: %d bytes, %v", v.Method, v.Name, n, len(got), err)
			}
		}
	}
}

func TestDecompressDamaged(t *testing.T) {
	for _, v := range vectors(t) {
		m := method(t, v.Method)
		if v.Method == "zlib" || len(v.text()) > limit {
			continue
		}
		if _, err := m.Decompress(append(bytes.Clone(v.Packed), "garbage behind"...), limit); !errors.Is(err, compression.ErrDamaged) {
			t.Errorf("%s, %s, and garbage: %v", v.Method, v.Name, err)
		}
	}
	for _, m := range []compression.Method{compression.Zlib, compression.Bzip2, compression.XZ, compression.Brotli, compression.Zstd, "", "rot13"} {
		for _, data := range []string{"", "\x00", "a text that is not packed", strings.Repeat("\x00", 64), strings.Repeat("\xff", 64)} {
			if _, err := m.Decompress([]byte(data), limit); !errors.Is(err, compression.ErrDamaged) {
				t.Errorf("%s: %.9q: %v", m, data, err)
			}
		}
	}
}

// allocated returns how many bytes fn allocates.
func allocated(fn func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	fn()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// A few bytes that unpack to many, and headers that promise even more, are
// refused at the price of some limits. bzip2 has its own least price, a block.
func TestBombs(t *testing.T) {
	bombs := map[string]struct {
		method string
		data   []byte
		want   error
	}{}
	add := func(name, method string, data []byte, want error) {
		bombs[method+", "+name] = struct {
			method string
			data   []byte
			want   error
		}{method, data, want}
	}
	for _, v := range vectors(t) {
		if len(v.text()) > limit {
			add(v.Name, v.Method, v.Packed, compression.ErrTooLarge)
		}
		switch {
		case v.Method == "xz" && v.Name == "text":
			// Byte 14 is the window, 40 the largest one; the block has a sum.
			b := bytes.Clone(v.Packed)
			b[12+4] = 40
			binary.LittleEndian.PutUint32(b[12+8:], crc32.ChecksumIEEE(b[12:12+8]))
			add("window of 4 GiB", v.Method, b, nil)
			add("300 streams", v.Method, bytes.Repeat(v.Packed, 300), compression.ErrDamaged)
		case v.Method == "xz" && v.Name == ".lzma":
			b := bytes.Clone(v.Packed)
			copy(b[1:], "\xff\xff\xff\xff")
			add(".lzma, window of 4 GiB", v.Method, b, nil)
			b = bytes.Clone(b)
			copy(b[5:], "\xff\xff\xff\xff\x1f\x00\x00\x00")
			add(".lzma, size of 128 GiB", v.Method, b, compression.ErrTooLarge)
		case v.Method == "zstd" && v.Name == "window of 128 MiB, no size":
			b := bytes.Clone(v.Packed)
			b[5] = 0xff
			add("window of 4 TiB", v.Method, b, nil)
		}
	}
	// Frames of zstd: one block of 128 KiB of one byte, again and again.
	block := []byte{0b010, 0, 0x10, 'a'}
	add("blocks without end", "zstd", append([]byte("\x28\xb5\x2f\xfd\x00\xff"), bytes.Repeat(block, 2500)...), compression.ErrDamaged)
	block[0] |= 1
	frame := append([]byte("\x28\xb5\x2f\xfd\x00\xff"), block...)
	add("1000 frames", "zstd", bytes.Repeat(frame, 1000), compression.ErrTooLarge)
	add("size of 16 EiB", "zstd", []byte("\x28\xb5\x2f\xfd\xc0\xff\xff\xff\xff\xff\xff\xff\xff\xff"), compression.ErrTooLarge)
	// The first block of a brotli stream with a window of 16 MiB claims 16 MiB.
	add("window of 16 MiB", "brotli", []byte{0x0f, 0xff, 0xff, 0xff, 0x7f}, compression.ErrDamaged)

	if len(bombs) < 12 {
		t.Fatalf("only %d bombs", len(bombs))
	}
	for name, b := range bombs {
		if len(b.data) > 40_000 {
			t.Errorf("%s: %d bytes are no bomb", name, len(b.data))
		}
		m := method(t, b.method)
		var err error
		n := allocated(func() { _, err = m.Decompress(b.data, limit) })
		if !errors.Is(err, b.want) {
			t.Errorf("%s: %v, want %v", name, err, b.want)
		}
		if n > 8*limit {
			t.Errorf("%s: %d bytes allocated, limit %d", name, n, limit)
		}
	}
}

func TestCompress(t *testing.T) {
	for _, m := range []compression.Method{compression.Zlib, compression.XZ, compression.Brotli, compression.Zstd} {
		for _, size := range []int{0, 1, 100, 70_000, 300_000} {
			text := bytes.Repeat([]byte("so many words, 0.1 and all of it again "), size/39+1)[:size]
			packed, err := m.Compress(text)
			if err != nil || len(packed) > size/10+100 {
				t.Errorf("%s: %d bytes packed to %d: %v", m, size, len(packed), err)
			}
			got, err := m.Decompress(packed, size)
			if err != nil || !bytes.Equal(got, text) {
				t.Errorf("%s: %d bytes came back as %d: %v", m, size, len(got), err)
			}
		}
	}
	if _, err := compression.Bzip2.Compress(nil); !errors.Is(err, compression.ErrReadOnly) {
		t.Errorf("bzip2: %v", err)
	}
	if _, err := compression.Method("rot13").Compress(nil); err == nil {
		t.Error("unknown method writes")
	}
}

func TestByName(t *testing.T) {
	for name, want := range map[string]compression.Method{
		"gzip": compression.Zlib, "zlib": compression.Zlib, "application/x-gzip": compression.Zlib,
		"bzip": compression.Bzip2, "bzip2": compression.Bzip2, "lzma": compression.XZ, "xz": compression.XZ,
		"brotli": compression.Brotli, "zstd": compression.Zstd, "zstandard": compression.Zstd,
		"GZIP": "", "": "", "pickle": "",
	} {
		if got, ok := compression.ByName(name); got != want || ok != (want != "") {
			t.Errorf("%s: %s, %t", name, got, ok)
		}
	}
}

func FuzzDecompress(f *testing.F) {
	methods := []compression.Method{compression.Zlib, compression.Bzip2, compression.XZ, compression.Brotli, compression.Zstd}
	for _, v := range vectors(f) {
		for i, m := range methods {
			if m == method(f, v.Method) {
				f.Add(byte(i), v.Packed)
			}
		}
	}
	f.Fuzz(func(t *testing.T, which byte, data []byte) {
		m := methods[int(which)%len(methods)]
		const limit = 64 << 10
		before := bytes.Clone(data)
		out, err := m.Decompress(data, limit)
		if !bytes.Equal(data, before) {
			t.Fatal("the argument was changed")
		}
		if err != nil {
			if !errors.Is(err, compression.ErrTooLarge) && !errors.Is(err, compression.ErrDamaged) || out != nil {
				t.Fatalf("%d bytes and error %v", len(out), err)
			}
			return
		}
		if len(out) > limit {
			t.Fatalf("%d bytes, limit %d", len(out), limit)
		}
		// A larger limit, and with it larger windows, must not change the text.
		if again, err := m.Decompress(data, 16<<20); err != nil || !bytes.Equal(again, out) {
			t.Fatalf("with a larger limit %d bytes instead of %d: %v", len(again), len(out), err)
		}
		if m == compression.Bzip2 {
			return
		}
		packed, err := m.Compress(out)
		if err != nil {
			t.Fatal(err)
		}
		if back, err := m.Decompress(packed, len(out)); err != nil || !bytes.Equal(back, out) {
			t.Fatalf("packed and unpacked: %v", err)
		}
	})
}
