package admission_test

import (
	"os"
	"testing"

	"k8s.io/client-go/rest"

	"github.com/k8ssec/k8ssec/e2e/controlplane"
)

func start(t *testing.T, _ string) *controlplane.ControlPlane {
	c := &controlplane.ControlPlane{Repository: os.Getenv("WL_OUT")}
	c.Admin = &rest.Config{Host: os.Getenv("WL_HOST"), BearerToken: "admintoken", TLSClientConfig: rest.TLSClientConfig{Insecure: true}, QPS: -1}
	return c
}
