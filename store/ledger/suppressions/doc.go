// Package suppressions knows the addresses that get no mail, and why.
//
// Evidence about an address comes from replies of mail servers and from bounces.
// [Decide] turns the evidence into a suppression or into none: only evidence about the
// address itself counts, never policy, reputation or content. People add and release
// suppressions, too, with a reason. A [Store] has them in the database of the ledger, under
// the keyed hash of the address. A [Checker] answers whether a mail may be sent.
package suppressions
