package encryption_test

import (
	"testing"

	"github.com/k8ssec/k8ssec/generators/encryption"
	"github.com/k8ssec/k8ssec/generators/generatortest"
)

func TestGolden(t *testing.T) { generatortest.Run(t, encryption.New()) }
