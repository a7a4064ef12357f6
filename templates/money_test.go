package templates_test

import (
	"math"
	"math/big"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/text/currency"

	"github.com/evently/workers/tasks"
	"github.com/evently/workers/templates"
)

func TestMoney(t *testing.T) {
	for _, test := range []struct{ amount, code, want string }{
		{"59.9", "EUR", "59.90 EUR"},
		{"59.90", "", "59.90"},
		{" 59.90 ", " eur ", "59.90 EUR"},
		{"0", "", "0.00"},
		{"0.0", "USD", "0.00 USD"},
		{"-0", "USD", "0.00 USD"},
		{"-12.5", "USD", "-12.50 USD"},
		{"+7", "GBP", "7.00 GBP"},
		{"1500", "JPY", "1500 JPY"},
		{"1500.00", "JPY", "1500 JPY"},
		{"1500.5", "JPY", "1500.5 JPY"},
		{"1.2", "KWD", "1.200 KWD"},
		{"0.1234", "EUR", "0.1234 EUR"},
		{"0.005", "EUR", "0.005 EUR"},
		{"1234.567", "EUR", "1234.567 EUR"},
		{".5", "", "0.50"},
		{"5.", "", "5.00"},
		{"007", "", "7.00"},
		{"1e3", "EUR", "1000.00 EUR"},
		{"5.99E+1", "EUR", "59.90 EUR"},
		{"599e-1", "EUR", "59.90 EUR"},
		{"1e-3", "EUR", "0.001 EUR"},
		{"0e9", "", "0.00"},
		{"1e-99", "", "0.00"},
		{"0.1", "", "0.10"},
		{"12500", "EUR", "12,500.00 EUR"},
		{"123456789.95", "USD", "123,456,789.95 USD"},
		{"9007199254740993.01", "USD", "9,007,199,254,740,993.01 USD"},
	} {
		m, err := templates.ParseMoney(test.amount, test.code)
		if err != nil || m.String() != test.want {
			t.Errorf("ParseMoney(%q, %q) is %q, %v; want %q", test.amount, test.code, m, err, test.want)
		}
	}
	if got := (templates.Money{}).String(); got != "0.00" {
		t.Errorf("no amount prints %q", got)
	}
	if m := templates.UnknownMoney(); m.String() != "" || m.IsZero() {
		t.Errorf("an unknown amount prints %q, zero: %v", m, m.IsZero())
	}
}

// Amounts as people and their programs write them.
func TestMoneyAsWritten(t *testing.T) {
	for _, test := range []struct{ amount, code, want string }{
		{"1,250.00", "EUR", "1250.00 EUR"},
		{"1,234,567.89", "", "1,234,567.89"},
		{"1,234,567", "", "1,234,567.00"},
		{"1.250,00", "EUR", "1250.00 EUR"},
		{"1.234.567", "", "1,234,567.00"},
		{"1 250,00", "EUR", "1250.00 EUR"},
		{"1\u00a0250.00", "EUR", "1250.00 EUR"},
		{"1\u202f250,5", "EUR", "1250.50 EUR"},
		{"1'250.00", "CHF", "1250.00 CHF"},
		{"1’250.00", "CHF", "1250.00 CHF"},
		{"1_250", "", "1250.00"},
		{"1,25,000.50", "INR", "125,000.50 INR"},
		{"59,90", "EUR", "59.90 EUR"},
		{"59,9", "", "59.90"},
		{"0,125", "", "0.125"},
		{"1250,125", "", "1250.125"},
		{"1,250", "EUR", "1250.00 EUR"}, // no euro has three decimals
		{"1,500", "JPY", "1500 JPY"},
		{"1.250", "EUR", "1.25 EUR"}, // Python's point is never anything else
		{"€59.90", "", "59.90 EUR"},
		{"59,90 €", "", "59.90 EUR"},
		{"EUR 59.90", "", "59.90 EUR"},
		{"59.90 eur", "EUR", "59.90 EUR"},
		{"$1,250.00", "", "1250.00 $"},
		{"$1,250.00", "USD", "1250.00 USD"},
		{"5 MXN", "$", "5.00 MXN"},
		{"1500", "¥", "1500 ¥"},
		{"5", "€", "5.00 EUR"},
		{"5", "US$", "5.00 USD"},
		{"5", "zł", "5.00 PLN"},
		{"kr 500", "NOK", "500.00 NOK"},
		{"500 kr.", "dkk", "500.00 DKK"},
		{"500,50 kr", "", "500.50 kr"},
		{"Rs. 1,25,000.50", "PKR", "125,000.50 PKR"},
		{"Rs.500", "INR", "500.00 INR"},
		{"₨ 500", "MUR", "500.00 MUR"},
		{"Fr. 12.50", "CHF", "12.50 CHF"},
		{"5", "Rs", "5.00 Rs"},
		{"EUR.5", "", "0.50 EUR"},
		{"-€12.50", "", "-12.50 EUR"},
		{"€-12.50", "", "-12.50 EUR"},
		{"−12.50", "", "-12.50"},
		{"\ufeff59.90\u200b", "", "59.90"},
		{"５９.９０", "", "59.90"},
	} {
		m, err := templates.ParseMoney(test.amount, test.code)
		if err != nil || m.String() != test.want {
			t.Errorf("ParseMoney(%q, %q) is %q, %v; want %q", test.amount, test.code, m, err, test.want)
		}
	}
}

func TestMoneyRefused(t *testing.T) {
	for _, bad := range [][2]string{
		{"", ""}, {".", ""}, {"-", ""}, {"€", ""}, {"12 50", ""}, {"NaN", ""}, {"Infinity", ""}, {"0x10", ""}, {"--1", ""}, {"+-1", ""}, {"-€-1", ""},
		{"1,250", ""}, {"1,250", "KWD"}, {"1,250,00", ""}, {"1,2,3", ""}, {"1.250.00", ""}, {"1,250 000", ""}, {",", ""}, {"1,,000", ""}, {"1,250.000,00", ""},
		{"1e", ""}, {"e5", ""}, {"1e99", ""}, {"1e999999999", ""}, {"1e99999999999999999999", ""}, {strings.Repeat("9", 30), ""}, {strings.Repeat("0", 1000) + "1", ""},
		{"٣", ""}, {"5²", ""}, {"½", ""}, {"a lot", ""}, {"free", ""}, {"1\n2", ""},
		{"1", "EURO"}, {"1", "E1R"}, {"1", "<b>"}, {"1", "XXX"}, {"1", "XTS"}, {"1", "ABC"}, {"1", "€€"},
		{"59.90 EUR", "USD"}, {"€59.90", "USD"}, {"$5", "¥"}, {"$5", "EUR"}, {"EUR 5 EUR", ""}, {"5 bucks", ""}, {"500 kr", "EUR"}, {"Rs. 500", "USD"},
	} {
		m, err := templates.ParseMoney(bad[0], bad[1])
		if err == nil {
			t.Errorf("ParseMoney(%q, %q) is %q; want an error", bad[0], bad[1], m)
		}
		if (m != templates.Money{}) {
			t.Errorf("ParseMoney(%q, %q) returns an amount beside its error", bad[0], bad[1])
		}
	}
}

// Amounts with the noise of binary floats, as Python writes them.
func TestMoneyWithoutNoise(t *testing.T) {
	for _, test := range []struct{ number, code, want string }{
		{"59.699999999999996", "EUR", "59.70 EUR"}, // 19.9*3
		{"5999.700000000001", "MUR", "5999.70 MUR"},
		{"5999.700000000001", "PKR", "5999.70 PKR"},
		{"5999.700000000001", "JPY", "5999.7 JPY"}, // the yen is wrong, not the number
		{"1234.567000000001", "EUR", "1234.567 EUR"},
		{"0.30000000000000004", "EUR", "0.30 EUR"}, // 0.1*3
		{"349.65000000000003", "", "349.65"},       // 49.95*7
		{"33.333333333333336", "EUR", "33.33 EUR"}, // 100/3
		{"66.66666666666667", "", "66.67"},
		{"-59.699999999999996", "EUR", "-59.70 EUR"},
		{"9.999999999999998", "EUR", "10.00 EUR"},
		{"99.99999999999999", "", "100.00"},
		{"99.9999999999986", "", "100.00"}, // sum of 1000 times 0.1
		{"9999.999999999998", "", "10,000.00"},
		{"1500.0000000000002", "JPY", "1500 JPY"},
		{"1499.9999999", "JPY", "1500 JPY"},
		{"1.2000000000000002", "KWD", "1.200 KWD"},
		{"1.2340000001", "KWD", "1.234 KWD"},
		{"5.551115123125783e-17", "USD", "0.00 USD"}, // 0.1+0.2-0.3
		{"-5e-324", "USD", "0.00 USD"},
		{"1e-07", "", "0.00"},
		{"0.9999999", "", "1.00"},
		{"12345678901234.566", "", "12,345,678,901,234.57"},
		{"59.70000076293945", "EUR", "59.70 EUR"},                                 // 32 bits
		{"5999.7001953125", "MUR", "5999.70 MUR"},                                 // 32 bits
		{"-5999.7001953125", "MUR", "-5999.70 MUR"},                               // 32 bits
		{"59.7000000000000028421709430404007434844970703125", "EUR", "59.70 EUR"}, // Decimal(59.7)
		{"33.33333333333333333333333333", "EUR", "33.33 EUR"},                     // Decimal(100)/3

		// Digits that the producer meant stay.
		{"59.9", "EUR", "59.90 EUR"},
		{"0.125", "EUR", "0.125 EUR"},
		{"0.005", "EUR", "0.005 EUR"},
		{"19.955", "", "19.955"},
		{"1234.5625", "", "1234.5625"},
		{"16777.21875", "", "16,777.21875"},
		{"1500.5", "JPY", "1500.5 JPY"},
		{"0.0001", "EUR", "0.0001 EUR"},
		{"123456789012.345", "EUR", "123,456,789,012.345 EUR"},
		{"0.0033333333333333335", "EUR", "0.0033333333333333335 EUR"},
	} {
		m, err := templates.ParseMoney(test.number, test.code)
		if err != nil || m.String() != test.want {
			t.Errorf("ParseMoney(%q, %q) is %q, %v; want %q", test.number, test.code, m, err, test.want)
		}
	}
}

// Amounts of minor units, added up and multiplied as floats, come out as the minor
// units that they are.
func TestMoneyOfFloats(t *testing.T) {
	for _, code := range []string{"EUR", "MUR", "KWD", "CLF", "JPY"} {
		one, err := templates.ParseMoney("1", code)
		if err != nil {
			t.Fatal(err)
		}
		_, fraction, _ := strings.Cut(strings.TrimSuffix(one.String(), " "+code), ".")
		scale := math.Pow10(len(fraction))
		for units := int64(1); units < 20_000_000; units = units*3 + 7 {
			price := float64(units) / scale
			for _, count := range []int64{1, 3, 7, 12, 99} {
				sum := 0.0
				for range count {
					sum += price
				}
				exact := new(big.Rat).SetFrac64(units*count, int64(scale)).FloatString(len(fraction))
				want, err := templates.ParseMoney(exact, code)
				if err != nil {
					t.Fatal(err)
				}
				for _, f := range []float64{price * float64(count), sum} {
					number := strconv.FormatFloat(f, 'g', -1, 64)
					if got, err := templates.ParseMoney(number, code); err != nil || got != want {
						t.Fatalf("ParseMoney(%s, %s) is %q, %v; want %q", number, code, got, err, want)
					}
				}
			}
		}
	}
}

// The digits are those of ISO 4217 List One; CLDR, Stripe and others are wrong about
// many of these codes, or do not know them yet.
func TestMinorUnits(t *testing.T) {
	for digits, codes := range map[int]string{
		0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF XAU XDR BYR ITL",
		2: "AFN ALL AMD COP CRC CZK HUF IDR IRR KPW LAK LBP MGA MMK MUR NOK PKR RSD SEK SLL SOS SYP TWD TZS UZS YER " +
			"XCG SLE VES VED ZWG MRU STN BYN ZMW SSP XAD ANG HRK BGN CUC VEF ZWL MRO STD GHC MZM",
		3: "BHD IQD JOD KWD LYD OMR TND",
		4: "CLF UYW",
	} {
		for code := range strings.FieldsSeq(strings.ReplaceAll(codes, "", "")) {
			m, err := templates.ParseMoney("1", code)
			want := "1 " + code
			if digits > 0 {
				want = "1." + strings.Repeat("0", digits) + " " + code
			}
			if err != nil || m.String() != want {
				t.Errorf("one %s is %q, %v; want %q", code, m, err, want)
			}
		}
	}
}

// CLDR knows most currencies too. Where its digits differ from ours, ISO 4217 is known
// to differ from it.
func TestMinorUnitsBesideCLDR(t *testing.T) {
	differ := " AFN ALL IRR KPW LAK LBP MGA MMK MUR PKR RSD SLL SOS SYP TZS UYW YER ZMK AMD COP CRC CZK GYD HUF IDR MNT NOK SEK TWD UZS " +
		"IQD STD MRO TMM XAG XAU XBA XBB XBC XBD XDR XPD XPT XSU XUA BEC BEF BEL BYB ESA ESB GRD LUC LUL PTE TPE ZWD "
	for a := 'A'; a <= 'Z'; a++ {
		for b := 'A'; b <= 'Z'; b++ {
			for c := 'A'; c <= 'Z'; c++ {
				code := string([]rune{a, b, c})
				u, err := currency.ParseISO(code)
				if err != nil || strings.Contains(differ, " "+code+" ") {
					continue
				}
				m, err := templates.ParseMoney("1", code)
				if err != nil {
					continue // no ISO code any more, or never
				}
				_, fraction, _ := strings.Cut(strings.TrimSuffix(m.String(), " "+code), ".")
				if digits, _ := currency.Standard.Rounding(u); digits != len(fraction) {
					t.Errorf("%s has %d digits, %d in CLDR", code, len(fraction), digits)
				}
			}
		}
	}
}

func FuzzParseMoney(f *testing.F) {
	for _, s := range []string{"59.9", "-1,250.00 €", "1e-3", "5.551115123125783e-17", "$", "1.250,00", "1e999999999", "NaN", "\u200b1", "9.999999999999999e22"} {
		f.Add(s, "EUR")
		f.Add(s, "")
	}
	f.Add("5999.700000000001", "mur")
	f.Fuzz(func(t *testing.T, amount, code string) {
		m, err := templates.ParseMoney(amount, code)
		if err != nil {
			if (m != templates.Money{}) {
				t.Errorf("ParseMoney(%q, %q) returns an amount beside its error", amount, code)
			}
			return
		}
		text := m.String()
		if len(text) > 80 || strings.ContainsFunc(text, forbidden) {
			t.Errorf("ParseMoney(%q, %q) is %q", amount, code, text)
		}
		// A printed amount is read as the same amount.
		if again, err := templates.ParseMoney(text, ""); err != nil || again.String() != text {
			if number, _, _ := strings.Cut(text, " "); strings.Count(number, ",") != 1 || strings.Contains(number, ".") {
				t.Errorf("ParseMoney(%q, %q) is %q, again %q, %v", amount, code, text, again, err)
			}
		}
		// An amount differs from its number by at most half a minor unit, or a millionth.
		plain, ok := new(big.Float).SetString(strings.TrimSpace(amount))
		_, fraction, _ := strings.Cut(strings.Split(text, " ")[0], ".")
		shown, ok2 := new(big.Float).SetString(strings.ReplaceAll(strings.Split(text, " ")[0], ",", ""))
		if !ok || !ok2 || strings.Trim(amount, "0123456789.eE+- ") != "" {
			return
		}
		off, _ := new(big.Float).Sub(plain, shown).Float64()
		if most := max(0.5001*math.Pow10(-len(fraction)), 1e-6); math.Abs(off) > most {
			t.Errorf("ParseMoney(%q, %q) is %q, which is %g off", amount, code, text, off)
		}
	})
}

// No mail promises an amount that cannot be paid.
func TestRefundsThatCannotBePaid(t *testing.T) {
	set := newSet(t)
	for _, test := range []struct {
		refund         templates.Money
		line, sentence string // "" for none
	}{
		{money(t, "12.5", "EUR"), "12.50 EUR", "Your refund of 12.50 EUR will arrive"},
		{money(t, "12.505", "EUR"), "12.505 EUR", "Your refund of 12.505 EUR will arrive"},
		{money(t, "0.01", "EUR"), "0.01 EUR", "Your refund of 0.01 EUR will arrive"},
		{money(t, "1", "JPY"), "1 JPY", "Your refund of 1 JPY will arrive"},
		{money(t, "0", "EUR"), "0.00 EUR", ""},
		{templates.Money{}, "0.00", ""},
		{money(t, "-12.5", "EUR"), "", ""},
		{money(t, "-0.001", ""), "", ""},
		{money(t, "0.001", "EUR"), "", ""},
		{money(t, "0.0099", ""), "", ""},
		{money(t, "0.5", "JPY"), "", ""},
		{templates.UnknownMoney(), "", ""},
	} {
		r := render(t, set, tasks.BookingCancellation{EventName: "Jazz", Refund: test.refund})
		for part, text := range map[string]string{"text": strings.Join(strings.Fields(r.Text), " "), "HTML": words(t, r.HTML)} {
			if test.sentence == "" {
				test.sentence = "Where a refund is due, it will arrive"
			}
			if !strings.Contains(text, test.sentence+" in 3–5 business days.") {
				t.Errorf("%s: the %s does not say %q", test.refund, part, test.sentence)
			}
			if has := strings.Contains(text, map[string]string{"text": "Refund: ", "HTML": "Refund"}[part]+test.line); test.line != "" && !has {
				t.Errorf("%s: want the line %q in the %s:\n%s", test.refund, test.line, part, text)
			}
			if shown := test.refund.String(); test.line == "" && shown != "" && strings.Contains(text, shown) {
				t.Errorf("%s: the %s shows it", test.refund, part)
			}
		}
	}
	for total, line := range map[string]string{"-5": "", "0": "0.00", "0.001": "0.001", "5": "5.00"} {
		text := render(t, set, tasks.BookingConfirmation{EventName: "Jazz", Total: money(t, total, "")}).Text
		if (line == "") == strings.Contains(text, "Total") || !strings.Contains(text, line) {
			t.Errorf("total %s: want the line %q:\n%s", total, line, text)
		}
	}
}

func money(t *testing.T, amount, code string) templates.Money {
	t.Helper()
	m, err := templates.ParseMoney(amount, code)
	if err != nil {
		t.Fatal(err)
	}
	return m
}
