package app

import (
	"context"
	"fmt"
	"slices"

	"github.com/k8ssec/k8ssec"
	"github.com/k8ssec/k8ssec/internal/diag"
	"github.com/k8ssec/k8ssec/internal/engine"
)

// ProfileInfo is one shipped profile.
type ProfileInfo struct {
	Name    string   `json:"name"`
	Title   string   `json:"title"`
	Extends []string `json:"extends,omitempty"`
	// Controls are in force with this profile alone, with those of the profiles it extends.
	Controls int `json:"controls"`
}

// Profiles lists the shipped profiles.
func (a *App) Profiles(ctx context.Context) ([]ProfileInfo, error) {
	var list []ProfileInfo
	for _, name := range engine.ShippedProfiles() {
		result, err := engine.Evaluate(ctx, engine.Options{
			Name: ClusterFile, Source: fmt.Appendf(nil, "profiles: [%q]\n", name), Now: a.Now(),
		})
		if err != nil {
			return nil, err
		}
		info := ProfileInfo{Name: name}
		for _, p := range result.Profiles {
			if p.Name == name {
				info.Title, info.Extends = p.Title, p.Extends
			}
		}
		for _, c := range result.Controls {
			if c.InForce {
				info.Controls++
			}
		}
		list = append(list, info)
	}
	return list, nil
}

// ProfileReadme is the page that says whom a shipped profile is for.
func (a *App) ProfileReadme(name string) (string, error) {
	shipped := engine.ShippedProfiles()
	if !slices.Contains(shipped, name) {
		d := diag.Diagnostic{Severity: diag.Error, Value: name, Message: fmt.Sprintf("there is no profile %q", name), Fix: "k8ssec profiles lists them"}
		if near := engine.Nearest(name, shipped); near != "" {
			d.Message += fmt.Sprintf("; did you mean %q?", near)
		}
		return "", diag.List{d}
	}
	data, err := k8ssec.Assets.ReadFile("profiles/" + name + "/README.md")
	return string(data), err
}
