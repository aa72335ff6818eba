package incident_test

import (
	"testing"

	"github.com/k8ssec/k8ssec/generators/generatortest"
	"github.com/k8ssec/k8ssec/generators/incident"
)

func TestGolden(t *testing.T) { generatortest.Run(t, incident.New()) }
