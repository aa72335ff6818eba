package probe

import (
	"fmt"
	"io"
	"strings"

	"github.com/k8ssec/k8ssec/internal/diag"
)

// WriteList writes the probes for a person, a line each under their domain.
func (r *Report) WriteList(w io.Writer, s diag.Style) error {
	var b strings.Builder
	domain, active := "", 0
	for _, p := range r.Probes {
		if p.Domain != domain {
			domain = p.Domain
			fmt.Fprintf(&b, "%s\n", s.Bold(domain))
		}
		mark := " "
		if p.Active {
			mark, active = "*", active+1
		}
		fmt.Fprintf(&b, "%s%-5s %s\n       %s\n", mark, p.Kind, p.ID, s.Dim(p.Title+" -> "+p.Expected))
	}
	fmt.Fprintf(&b, "\n%d probes", len(r.Probes))
	if active > 0 {
		fmt.Fprintf(&b, "; the %d with a * create something for a moment and run with --active only", active)
	}
	b.WriteString("\n")
	_, err := io.WriteString(w, b.String())
	return err
}
