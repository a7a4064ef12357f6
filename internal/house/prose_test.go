package house_test

import (
	"fmt"
	"go/ast"
	"go/token"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// retired lists words that make a reader search for the subject, with what to write
// instead. They are looked for in comments, messages and documents.
var retired = []struct{ word, instead string }{
	{"nobody", "name the subject"},
	{"somebody", "name the subject"},
	{"whoever", "name the subject"},
	{"likewise", "repeat the words"},
	{"in vain", "say what failed"},
	{"not to be had", "unavailable"},
	{"in the place of", "instead of, or overrides"},
	{"the books", "unacked set"},
	{"shall", "must"},
	{"those that", "name the things"},
	{"those who", "name the persons"},
	{"is away", "is unavailable"},
	{"used again", "reused"},
	{"gets along with", "say what it does"},
}

// allowedAt holds places where a retired word is right, such as a quotation.
var allowedAt = map[string]bool{
	"internal/house/prose_test.go": true,
}

// riddle matches sentences whose subject is a clause.
var riddle = regexp.MustCompile(`(?:^|[.;:] )(?:What|Whoever|Whatever) [a-z]+ `)

func faultsOf(text string) (faults []string) {
	flat := strings.Join(strings.Fields(text), " ")
	lower := strings.ToLower(flat)
	for _, r := range retired {
		if regexp.MustCompile(`\b` + r.word + `\b`).MatchString(lower) {
			faults = append(faults, fmt.Sprintf("%q: %s", r.word, r.instead))
		}
	}
	if m := riddle.FindString(flat); m != "" {
		faults = append(faults, fmt.Sprintf("%q as a subject: name the thing", strings.TrimSpace(m)))
	}
	return faults
}

func TestEnglishOfCode(t *testing.T) {
	all, fset := sources(t)
	for _, s := range all {
		if allowedAt[s.path] {
			continue
		}
		report := func(at token.Pos, text string) {
			for _, fault := range faultsOf(text) {
				t.Errorf("%s: %s", fset.Position(at), fault)
			}
		}
		for _, group := range s.file.Comments {
			report(group.Pos(), group.Text())
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			if _, ok := n.(*ast.ImportSpec); ok {
				return false
			}
			if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING && !s.isTest() {
				if text, err := strconv.Unquote(lit.Value); err == nil {
					report(lit.Pos(), text)
				}
			}
			return true
		})
	}
}

func TestEnglishOfDocuments(t *testing.T) {
	for _, path := range files(t, ".md", ".lua") {
		if allowedAt[path] {
			continue
		}
		for n, paragraph := range strings.Split(read(t, path), "\n\n") {
			for _, fault := range faultsOf(paragraph) {
				t.Errorf("%s, paragraph %d: %s", path, n+1, fault)
			}
		}
	}
}

// Doc comments of exported names begin with the name, so that a reader of go doc sees what
// they are about.
func TestDocComments(t *testing.T) {
	all, fset := sources(t)
	for _, s := range all {
		if s.isTest() {
			continue
		}
		check := func(name *ast.Ident, doc *ast.CommentGroup) {
			if !name.IsExported() {
				return
			}
			if doc == nil {
				if !s.isHarness() {
					t.Errorf("%s: %s has no doc comment", fset.Position(name.Pos()), name.Name)
				}
				return
			}
			text := strings.TrimSpace(doc.Text())
			for _, article := range []string{"A ", "An ", "The "} {
				text = strings.TrimPrefix(text, article)
			}
			if !strings.HasPrefix(text, name.Name+" ") && !strings.HasPrefix(text, name.Name+"'") && text != "" && !strings.HasPrefix(text, "Deprecated:") {
				t.Errorf("%s: the doc comment of %s begins %.30q, want its name", fset.Position(name.Pos()), name.Name, text)
			}
		}
		for _, d := range s.file.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				if d.Recv == nil || ast.IsExported(receiverName(d.Recv.List[0].Type)) {
					if wellKnown[d.Name.Name] && d.Doc == nil {
						continue
					}
					check(d.Name, d.Doc)
				}
			case *ast.GenDecl:
				if d.Tok != token.TYPE {
					continue
				}
				for _, spec := range d.Specs {
					spec := spec.(*ast.TypeSpec)
					doc := spec.Doc
					if doc == nil {
						doc = d.Doc
					}
					check(spec.Name, doc)
				}
			}
		}
	}
}

// wellKnown lists methods of standard interfaces, which need no comment.
var wellKnown = map[string]bool{
	"Error": true, "Unwrap": true, "Is": true, "String": true, "MarshalJSON": true, "UnmarshalJSON": true, "MarshalText": true,
	"Len": true, "Less": true, "Swap": true, "Push": true, "Pop": true, "Close": true, "Read": true, "Write": true,
	"Enabled": true, "Handle": true, "WithAttrs": true, "WithGroup": true, "Format": true, "LogValue": true, "GoString": true,
	"ServeHTTP": true, "Set": true, "Decode": true,
}
