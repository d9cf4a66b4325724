package ftps

import (
	"errors"

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
