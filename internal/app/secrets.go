package app

import (
	"bytes"
	"fmt"
	"regexp"

	"github.com/k8ssec/k8ssec/internal/diag"
	"github.com/k8ssec/k8ssec/internal/manifest"
)

// secretPatterns are texts that only a secret looks like.
var secretPatterns = []struct {
	name    string
	pattern *regexp.Regexp
}{
	{"a private key", regexp.MustCompile(`-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY-----`)},
	{"an AWS access key", regexp.MustCompile(`\b(?:AKIA|ASIA)[0-9A-Z]{16}\b`)},
	{"a Vault token", regexp.MustCompile(`\bhv[sbr]\.[A-Za-z0-9_-]{20,}`)},
	{"a GitHub token", regexp.MustCompile(`\b(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{60,})`)},
	{"a GitLab token", regexp.MustCompile(`\bglpat-[A-Za-z0-9_-]{20,}`)},
	{"a Slack webhook or token", regexp.MustCompile(`\bxox[abprs]-[A-Za-z0-9-]{10,}|hooks\.slack\.com/services/T[A-Z0-9]+/B[A-Z0-9]+/[A-Za-z0-9]+`)},
	{"a JSON web token", regexp.MustCompile(`\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}`)},
	{"a bootstrap token", regexp.MustCompile(`\btoken(?:-secret)?:\s*"?[a-z0-9]{6}\.[a-z0-9]{16}\b`)},
}

// findSecrets reports what must never be in a repository: key material by its look, and objects
// that carry secret values.
func findSecrets(name string, data []byte, docs []manifest.Document) diag.List {
	var found diag.List
	add := func(line, column int, what string) {
		found = append(found, diag.Diagnostic{
			Severity: diag.Error, File: name, Line: line, Column: column,
			Message: "the file holds " + what,
			Rule:    "no secret value is ever in the repository",
			Why:     "everyone who can read the repository, its history or a backup of it has the secret from then on",
			Fix:     "take it out, out of the history too, and replace the secret itself: it counts as known. Keep values in a secret store or on the node.",
		})
	}
	for _, p := range secretPatterns {
		if at := p.pattern.FindIndex(data); at != nil {
			line := 1 + bytes.Count(data[:at[0]], []byte("\n"))
			column := at[0] - bytes.LastIndexByte(data[:at[0]], '\n')
			add(line, column, p.name)
		}
	}
	for _, d := range docs {
		switch d.Kind {
		case "Secret":
			for _, field := range []string{"data", "stringData"} {
				if n, ok := manifest.Lookup(d.Node, field); ok && len(n.Content) > 0 {
					add(n.Line, n.Column, fmt.Sprintf("the values of Secret %s/%s", d.Namespace, d.Name))
				}
			}
		case "EncryptionConfiguration":
			if line, column, ok := keyMaterial(d); ok {
				add(line, column, "an encryption key")
			}
		}
	}
	return found
}

// keyMaterial finds the first key of an EncryptionConfiguration that has a value.
func keyMaterial(d manifest.Document) (line, column int, found bool) {
	resources, ok := manifest.Lookup(d.Node, "resources")
	if !ok {
		return 0, 0, false
	}
	for i := range resources.Content {
		for k := range 16 {
			for _, provider := range []string{"secretbox", "aescbc", "aesgcm"} {
				n, ok := manifest.Lookup(d.Node, fmt.Sprintf("resources[%d].providers[%d].%s.keys[0].secret", i, k, provider))
				if ok && n.Value != "" {
					return n.Line, n.Column, true
				}
			}
		}
	}
	return 0, 0, false
}
