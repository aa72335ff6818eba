// Package all lists the generators. A new domain is one folder and one line here.
package all

import (
	"github.com/k8ssec/k8ssec/generators"
	"github.com/k8ssec/k8ssec/generators/access"
	"github.com/k8ssec/k8ssec/generators/alerts"
	"github.com/k8ssec/k8ssec/generators/apiserver"
	"github.com/k8ssec/k8ssec/generators/backup"
	"github.com/k8ssec/k8ssec/generators/benchmark"
	"github.com/k8ssec/k8ssec/generators/encryption"
	"github.com/k8ssec/k8ssec/generators/gitops"
	"github.com/k8ssec/k8ssec/generators/images"
	"github.com/k8ssec/k8ssec/generators/incident"
	"github.com/k8ssec/k8ssec/generators/logging"
	"github.com/k8ssec/k8ssec/generators/namespaces"
	"github.com/k8ssec/k8ssec/generators/network"
	"github.com/k8ssec/k8ssec/generators/resources"
	"github.com/k8ssec/k8ssec/generators/runtime"
	"github.com/k8ssec/k8ssec/generators/secrets"
	"github.com/k8ssec/k8ssec/generators/upgrades"
	"github.com/k8ssec/k8ssec/generators/workloads"
)

// List returns every generator, by domain.
func List() []generators.Generator {
	return []generators.Generator{
		access.New(),
		alerts.New(),
		apiserver.New(),
		backup.New(),
		benchmark.New(),
		encryption.New(),
		gitops.New(),
		images.New(),
		incident.New(),
		logging.New(),
		namespaces.New(),
		network.New(),
		resources.New(),
		runtime.New(),
		secrets.New(),
		upgrades.New(),
		workloads.New(),
	}
}
