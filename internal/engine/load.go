package engine

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"cuelang.org/go/cue"
	"cuelang.org/go/cue/ast"
	"cuelang.org/go/cue/build"
	"cuelang.org/go/cue/cuecontext"
	cueerrors "cuelang.org/go/cue/errors"
	"cuelang.org/go/cue/parser"
	"cuelang.org/go/cue/token"

	"github.com/k8ssec/k8ssec"
	"github.com/k8ssec/k8ssec/internal/diag"
)

// module is the CUE module that the command carries with it.
const module = "k8ssec.dev"

// Limits of what a person or a script may hand in; far above any real cluster, far below what
// would exhaust memory.
const (
	maxFileBytes = 16 << 20
	maxDepth     = 64
)

// loader builds CUE packages: ours from the embedded files, the user's from disk, never from a
// network.
type loader struct {
	ctx   *cue.Context
	build *build.Context
	// cluster is the cluster file.
	cluster *layer
	// vendor is the user's cue.mod/pkg, where third-party packages resolve offline; may be empty.
	vendor string
	// files are the user's files that were read, for the digest of the inputs.
	files map[string][]byte
	// built are the embedded packages that were built already.
	built map[string]cue.Value
	// failed is the first finding of ours, which CUE's error types cannot carry.
	failed diag.List
}

func newLoader(dir string) *loader {
	l := &loader{ctx: cuecontext.New(), files: map[string][]byte{}, built: map[string]cue.Value{}}
	if dir != "" {
		l.vendor = filepath.Join(dir, "cue.mod", "pkg")
	}
	l.build = build.NewContext(build.Loader(l.load))
	return l
}

// load resolves an import. nil means "not ours": CUE then looks at its standard library, and
// reports the path if it is not there either.
func (l *loader) load(at token.Pos, importPath string) *build.Instance {
	name, _, _ := strings.Cut(importPath, ":")
	if rest, ok := strings.CutPrefix(name, module+"/"); ok {
		rest, _, _ = strings.Cut(rest, "@")
		return l.instance(k8ssec.Assets, rest, "")
	}
	if l.vendor == "" || !strings.Contains(strings.SplitN(name, "/", 2)[0], ".") {
		return nil
	}
	dir := filepath.Join(l.vendor, filepath.FromSlash(name))
	if _, err := os.Stat(dir); err != nil {
		return nil
	}
	return l.instance(os.DirFS(dir), ".", dir)
}

// instance parses all CUE files of one directory. shown is the directory's name in positions;
// empty for embedded files.
func (l *loader) instance(fsys fs.FS, dir, shown string) *build.Instance {
	inst := l.build.NewInstance(dir, nil)
	names, err := fs.Glob(fsys, path.Join(dir, "*.cue"))
	if err == nil && len(names) == 0 {
		err = fmt.Errorf("no *.cue file in %s", cmpOr(shown, dir))
	}
	for _, name := range names {
		var data []byte
		if data, err = readFile(fsys, name); err != nil {
			break
		}
		filename := name
		if shown != "" {
			filename = filepath.ToSlash(filepath.Join(shown, path.Base(name)))
			l.files[filename] = data
		}
		var file *ast.File
		if file, err = parse(filename, data); err != nil {
			break
		}
		if err = inst.AddSyntax(file); !isNil(err) {
			break
		}
		err = nil
	}
	if err != nil {
		if list, ok := asList(err); ok && l.failed == nil {
			l.failed = list
		}
		inst.Err = cueerrors.Promote(err, "cannot load "+dir)
		return inst
	}
	inst.ImportPath = module + "/" + dir
	if err := inst.Complete(); err != nil && inst.Err == nil {
		inst.Err = cueerrors.Promote(err, "cannot load "+dir)
	}
	return inst
}

// isNil tells a nil cue error in an error interface from a real one.
func isNil(err error) bool {
	if err == nil {
		return true
	}
	var e cueerrors.Error
	return errors.As(err, &e) && e == nil
}

func asList(err error) (diag.List, bool) {
	var list diag.List
	ok := errors.As(err, &list)
	return list, ok
}

func cmpOr(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// shipped builds one embedded package.
func (l *loader) shipped(dir string) (cue.Value, error) {
	if v, ok := l.built[dir]; ok {
		return v, nil
	}
	v, err := l.value(l.instance(k8ssec.Assets, dir, ""))
	if err == nil {
		l.built[dir] = v
	}
	return v, err
}

// directory builds one package of the user's.
func (l *loader) directory(dir, shown string) (cue.Value, error) {
	return l.value(l.instance(os.DirFS(dir), ".", shown))
}

func (l *loader) value(inst *build.Instance) (cue.Value, error) {
	if l.failed != nil {
		return cue.Value{}, l.failed
	}
	if inst.Err != nil {
		return cue.Value{}, inst.Err
	}
	v := l.ctx.BuildInstance(inst)
	return v, v.Err()
}

func readFile(fsys fs.FS, name string) ([]byte, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readLimited(f, name)
}

func readLimited(r io.Reader, name string) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxFileBytes+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxFileBytes {
		return nil, diag.List{{
			Severity: diag.Error, File: name,
			Message: fmt.Sprintf("the file is larger than %d MB", maxFileBytes>>20),
			Fix:     "a cluster file with 10,000 namespaces has about 2 MB; check what was written here",
		}}
	}
	return data, nil
}

// ReadClusterFile reads a cluster file with the limits that Evaluate expects. Errors are
// diag.Lists with what to do.
func ReadClusterFile(name string) ([]byte, error) {
	info, err := os.Stat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, diag.List{{
			Severity: diag.Error, File: name, Message: "there is no cluster file here",
			Fix: "k8ssec init " + filepath.Dir(name) + " --profile cis",
		}}
	case err != nil:
		return nil, diag.List{{
			Severity: diag.Error, File: name, Message: "the cluster file cannot be read: " + reason(err),
			Fix: "make it a regular file that you may read",
		}}
	case !info.Mode().IsRegular():
		return nil, diag.List{{
			Severity: diag.Error, File: name, Message: "the cluster file is not a regular file",
			Fix: "put a file named " + filepath.Base(name) + " here",
		}}
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, diag.List{{
			Severity: diag.Error, File: name, Message: "the cluster file cannot be read: " + reason(err),
			Fix: "chmod u+r " + name,
		}}
	}
	defer f.Close()
	return readLimited(f, name)
}

// reason is the cause of a file error, without the path that the message names anyway.
func reason(err error) string {
	var pathError *fs.PathError
	if errors.As(err, &pathError) {
		return pathError.Err.Error()
	}
	return err.Error()
}

// parse reads one CUE file, after checks that the parser's own messages do not cover well.
func parse(name string, data []byte) (*ast.File, error) {
	fail := func(line, column int, message, fix string) error {
		return diag.List{{Severity: diag.Error, File: name, Line: line, Column: column, Message: message, Fix: fix}}
	}
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	data = bytes.ReplaceAll(data, []byte("\r\n"), []byte("\n"))
	if i := bytes.IndexByte(data, 0); i >= 0 || !utf8.Valid(data) {
		return nil, fail(0, 0, "the file is not text in UTF-8", "write the file as UTF-8 text")
	}
	if line, column, deep := tooDeep(data); deep {
		return nil, fail(line, column, fmt.Sprintf("the file is nested more than %d levels deep", maxDepth), "no posture is this deep; check for a missing brace")
	}
	file, err := parser.ParseFile(name, data)
	if err != nil {
		return nil, syntaxErrors(name, err)
	}
	return file, nil
}

// tooDeep finds nesting that would make evaluation recurse without bound. It counts brackets and
// chains of operators and labels outside of strings and comments, roughly: a false alarm needs a
// file that no person writes.
func tooDeep(data []byte) (line, column int, deep bool) {
	depth, chain := 0, 0
	open := false // the line ends in an operator or a label, so the chain goes on
	line, column = 1, 0
	for i := 0; i < len(data); i++ {
		column++
		if c := data[i]; c > ' ' {
			open = strings.IndexByte(":!-+*&|<>=", c) >= 0
		}
		switch c := data[i]; c {
		case '\n':
			line, column = line+1, 0
			if !open {
				chain = 0
			}
		case '{', '[', '(':
			depth++
		case '}', ']', ')':
			depth--
		case '"':
			// Skip the string; a multi-line one holds no unescaped quote but at its end.
			for i++; i < len(data) && data[i] != '"' && data[i] != '\n'; i++ {
				column++
				if data[i] == '\\' {
					i++
				}
			}
			if i < len(data) && data[i] == '\n' {
				i--
			}
		case '/':
			if i+1 < len(data) && data[i+1] == '/' {
				for i+1 < len(data) && data[i+1] != '\n' {
					i++
				}
			}
		case ':', '!', '-', '+', '*', '&', '|', '<', '>', '=':
			chain++
		}
		if depth > maxDepth || chain > 16*maxDepth {
			return line, column, true
		}
	}
	return 0, 0, false
}

// syntaxErrors are the parser's findings in our words: place and what stands there.
func syntaxErrors(name string, err error) diag.List {
	var found diag.List
	for _, e := range cueerrors.Errors(err) {
		at := posOf(e.Position())
		format, args := e.Msg()
		found = append(found, diag.Diagnostic{
			Severity: diag.Error, File: cmpOr(at.file, name), Line: at.line, Column: at.column,
			Message: "the file cannot be read as CUE: " + plain(fmt.Sprintf(format, args...)),
			Fix:     syntaxFix(fmt.Sprintf(format, args...)),
		})
	}
	if len(found) > 5 {
		found = found[:5]
	}
	return found
}

func syntaxFix(message string) string {
	switch {
	case strings.Contains(message, "string literal not terminated"):
		return `close the text with a quote: "..."`
	case strings.Contains(message, "expected operand"):
		return `write a value here: a text in quotes, a number, true, false, [ ... ] or { ... }`
	case strings.Contains(message, "expected '}'"), strings.Contains(message, "EOF"):
		return "close each { with a } and each [ with a ]"
	default:
		return `write fields as "name: value", one on a line; texts stand in quotes`
	}
}

// plain rewrites the evaluator's own terms into words for people.
func plain(message string) string {
	message, _, _ = strings.Cut(message, "\n")
	for _, term := range slices.Sorted(maps.Keys(terms)) {
		message = strings.ReplaceAll(message, term, terms[term])
	}
	return message
}

// digest covers the user's files below a directory that were read.
func (l *loader) digest(dir string) string {
	h := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(l.files)) {
		if rest, ok := strings.CutPrefix(name, dir+"/"); ok {
			fmt.Fprintf(h, "%q %x\n", rest, sha256.Sum256(l.files[name]))
		}
	}
	return "sha256:" + hex.EncodeToString(h.Sum(nil))
}
