package images

import (
	"strings"

	"github.com/k8ssec/k8ssec/cue/posture"
	"github.com/k8ssec/k8ssec/generators"
)

type signerRow struct{ Name, Images, Who, Log string }

// page is docs/images.md.
func page(p *posture.Posture) (generators.Artifact, error) {
	var rows []signerRow
	for _, name := range signers(p) {
		s := p.Images.Signers[name]
		row := signerRow{Name: name, Images: "`" + strings.Join(s.Images, "`, `") + "`", Who: "a key", Log: s.Tlog}
		if s.Key == "" {
			row.Who = "`" + s.Subject + "` of " + s.Issuer
		}
		rows = append(rows, row)
	}
	namespaces, _ := exempt(p)
	text, err := generators.Text("images/images.md.tmpl", struct {
		*posture.Posture
		Signers     []signerRow
		Verify      string
		Checked     bool
		Enforcement posture.Enforcement
		Waived      string
		Severities  string
		Scanner     bool
	}{
		Posture: p, Signers: rows, Verify: p.Images.Verify, Checked: p.Images.Verify != "off" && len(rows) > 0,
		Enforcement: enforcement(p), Waived: strings.Join(namespaces, ", "), Severities: strings.Join(severities(p), ", "),
		Scanner: p.Images.Scanner == posture.InstallInstall,
	})
	if err != nil {
		return generators.Artifact{}, err
	}
	return generators.Artifact{Path: "docs/images.md", Kind: generators.Doc, Text: text}, nil
}
