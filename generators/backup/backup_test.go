package backup_test

import (
	"testing"

	"github.com/k8ssec/k8ssec/generators/backup"
	"github.com/k8ssec/k8ssec/generators/generatortest"
)

func TestGolden(t *testing.T) { generatortest.Run(t, backup.New()) }
