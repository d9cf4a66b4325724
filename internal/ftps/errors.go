package ftps

import (
	"crypto/tls"
	"errors"
	"net"

	"ftproxy/config"
	"ftproxy/internal/certs"
)

// A ConfigError says which key of the configuration names a file that cannot be used.
// It wraps what is wrong with the file.
type ConfigError struct {
	Key string // "frontend.public.tls.certificate"
	Err error
}

func (e *ConfigError) Error() string { return e.Key + ": " + e.Err.Error() }

func (e *ConfigError) Unwrap() error { return e.Err }

// keyPairError names the key whose file is at fault.
func keyPairError(table string, pair config.KeyPair, err error) error {
	var file *certs.FileError
	if errors.As(err, &file) && file.Path == pair.Key && pair.Key != pair.Certificate {
		return &ConfigError{table + "key", err}
	}
	return &ConfigError{table + "certificate", err}
}

// noRenegotiation is the alert of who is asked for renegotiation and does none.
const noRenegotiation tls.AlertError = 100

// IsRenegotiation tells whether a connection has ended because the peer asked for
// renegotiation, which crypto/tls refuses. Its own type for alerts is not exported; both
// have the same words.
func IsRenegotiation(err error) bool {
	var alert *net.OpError
	return errors.As(err, &alert) && alert.Op == "local error" && alert.Err.Error() == noRenegotiation.Error()
}
