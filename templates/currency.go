package templates

import (
	"strings"
	"sync"
)

// unit is a currency: its code and the digits of its minor unit.
type unit struct {
	code   string
	digits int
}

// currencies returns every code of ISO 4217 with the digits of its minor unit, from List
// One of SIX of 2026-01-01. The digits of CLDR differ: they are the digits that are usually
// shown, none for the Mauritian rupee, which has two. The last two groups are withdrawn
// currencies of List Three, with the digits of their last years. XXX (no currency) and XTS
// (tests) are left out.
var currencies = sync.OnceValue(func() map[string]int {
	groups := []struct {
		digits int
		codes  string
	}{
		{0, `BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF`},
		{2, `AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BOV BRL BSD BTN BWP BYN BZD
			CAD CDF CHE CHF CHW CNY COP COU CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP
			GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK
			LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MXV MYR MZN NAD NGN NIO
			NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS
			SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD USN UYU UZS VED VES WST
			XAD XCD XCG YER ZAR ZMW ZWG`},
		{3, `BHD IQD JOD KWD LYD OMR TND`},
		{4, `CLF UYW`},
		// Metals and units of account have no minor unit.
		{0, `XAG XAU XBA XBB XBC XBD XDR XPD XPT XSU XUA`},
		{0, `ADP BEC BEF BEL BYB BYR ESA ESB ESP GRD ITL LUC LUF LUL MGF PTE TPE TRL`},
		{2, `AFA ANG AOK AON AOR ARA ARP ATS AZM BAD BGL BGN BOP BRB BRC BRE BRN BRR BUK CHC CSD CSK
			CUC CYP DDM DEM ECS ECV EEK FIM FRF GEK GHC GHP GNS GQE GWE GWP HRD HRK IEP ILP LSM LTL
			LTT LVL LVR MLF MRO MTL MTP MXP MZE MZM NIC NLG PEI PES PLZ RHD ROL RUR SDD SDP SIT SKK
			SLL SRG STD SUR TJR TMM UAK UGS USS UYN UYP VEB VEF VNC XEU XFO XFU YDD YUD YUM YUN ZAL
			ZMK ZRN ZRZ ZWC ZWD ZWL ZWN ZWR`},
	}
	all := map[string]int{}
	for _, g := range groups {
		for code := range strings.FieldsSeq(g.codes) {
			all[code] = g.digits
		}
	}
	return all
})

// currencySign returns the currency of a sign. It returns a sign of several currencies
// unchanged.
func currencySign(s string) (unit, bool) {
	signs := map[string]string{
		"€": "EUR", "£": "GBP", "₹": "INR", "₽": "RUB", "₩": "KRW", "₪": "ILS", "₫": "VND", "₦": "NGN",
		"₱": "PHP", "฿": "THB", "₴": "UAH", "₸": "KZT", "₺": "TRY", "₼": "AZN", "₾": "GEL", "₡": "CRC",
		"₲": "PYG", "₵": "GHS", "₮": "MNT", "₭": "LAK", "֏": "AMD", "៛": "KHR", "৳": "BDT",
		"US$": "USD", "A$": "AUD", "AU$": "AUD", "C$": "CAD", "CA$": "CAD", "NZ$": "NZD", "HK$": "HKD",
		"NT$": "TWD", "S$": "SGD", "R$": "BRL", "CN¥": "CNY", "JP¥": "JPY", "ZŁ": "PLN", "KČ": "CZK",
	}
	if code, ok := signs[s]; ok {
		return unit{code, currencies()[code]}, true
	}
	switch s {
	case "$":
		return unit{"$", 2}, true
	case "¥":
		return unit{"¥", 0}, true
	case "KR":
		return unit{"kr", 2}, true
	case "RS", "₨":
		return unit{"Rs", 2}, true
	case "FR", "SFR":
		return unit{"Fr", 2}, true
	}
	return unit{}, false
}

// isAbbreviation reports whether s is the name of a currency that is often written with a
// dot behind it: Rs. 500.
func isAbbreviation(s string) bool {
	s = strings.ToUpper(s)
	return s == "KR" || s == "RS" || s == "FR" || s == "SFR"
}

// fits reports whether u is a sign of several currencies and code is one of them.
func (u unit) fits(code string) bool {
	several := map[string]string{
		"$": `ARS AUD BBD BMD BND BRL BSD BZD CAD CLP COP CUP DOP FJD GYD HKD JMD KYD LRD MXN NAD NZD
			SBD SGD SRD TTD TWD USD UYU XCD ZWG ZWL`,
		"¥":  "CNY JPY",
		"kr": "DKK EEK ISK NOK SEK",
		"Rs": "INR LKR MUR NPR PKR SCR",
		"Fr": "BIF CDF CHF DJF FRF GNF KMF RWF XAF XOF XPF",
	}
	return len(code) == 3 && strings.Contains(several[u.code], code)
}

// readCurrency returns the currency of a code or sign, in any case and with spaces
// around it.
func readCurrency(s string) (unit, bool) {
	s = strings.ToUpper(Plain(s))
	if digits, ok := currencies()[s]; ok {
		return unit{s, digits}, true
	}
	return currencySign(s)
}
