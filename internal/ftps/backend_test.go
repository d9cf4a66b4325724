package ftps

import (
	"crypto/tls"
	"slices"
	"testing"
)

func TestOldSuites(t *testing.T) {
	if suites := oldSuites(); slices.Contains(suites, tls.TLS_RSA_WITH_RC4_128_SHA) || !slices.Contains(suites, tls.TLS_RSA_WITH_3DES_EDE_CBC_SHA) {
		t.Errorf("suites for old servers: %v", suites)
	}
}
