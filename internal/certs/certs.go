// Package certs reads the certificates and keys that TLS needs, and says what is
// wrong with a file in words that tell what to do.
package certs

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// A FileError is what is wrong with one file.
type FileError struct {
	Path    string
	Message string // what is wrong
	Hint    string // what to do
	Err     error  // what caused it; may be nil
}

func (e *FileError) Error() string {
	return e.Path + ": " + e.Message + "; " + e.Hint
}

func (e *FileError) Unwrap() error { return e.Err }

// Load reads a certificate with its chain, leaf first, and its key, which may
// stand in the same file. Its Leaf is set. Errors are *[FileError].
func Load(certificate, key string) (tls.Certificate, error) {
	chain, err := read(certificate)
	if err != nil {
		return tls.Certificate{}, err
	}
	if !holds(chain, "CERTIFICATE") {
		return tls.Certificate{}, &FileError{Path: certificate, Message: "holds no certificate", Hint: `name a PEM file, which has a line "-----BEGIN CERTIFICATE-----"`}
	}
	secret := chain
	if key != certificate {
		if secret, err = read(key); err != nil {
			return tls.Certificate{}, err
		}
	}
	switch {
	case holds(secret, "ENCRYPTED PRIVATE KEY"), bytes.Contains(secret, []byte("Proc-Type: 4,ENCRYPTED")):
		return tls.Certificate{}, &FileError{Path: key, Message: "the key is encrypted, and nobody is there to say its passphrase",
			Hint: "write it without: openssl pkey -in OLD -out NEW, readable for ftproxy alone"}
	case !holds(secret, "PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY"):
		hint := "name the PEM file of the certificate's key"
		if key == certificate {
			hint = "write key = with the file that has it, or append the key to this file"
		}
		return tls.Certificate{}, &FileError{Path: key, Message: "holds no private key", Hint: hint}
	}
	pair, err := tls.X509KeyPair(chain, secret)
	if err != nil {
		return tls.Certificate{}, &FileError{Path: certificate, Message: "cannot be used with the key of " + key + ": " + err.Error(),
			Hint: "the first certificate of the file must be the key's own, those of its issuers behind it", Err: err}
	}
	return pair, nil
}

// Pool reads the certificates of authorities. Errors are *[FileError].
func Pool(path string) (*x509.CertPool, error) {
	text, err := read(path)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, &FileError{Path: path, Message: "holds no certificate", Hint: "name the PEM file of the authority's certificate"}
	}
	return pool, nil
}

// Exposed reports whether others than the owner and the group of a file may read
// it. A file that cannot be looked at is not.
func Exposed(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().Perm()&0o007 != 0
}

// read reads a file of PEM blocks, which is not large.
func read(path string) ([]byte, error) {
	text, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, &FileError{Path: path, Message: "no such file", Hint: "write the path of a PEM file", Err: err}
	case errors.Is(err, fs.ErrPermission):
		return nil, &FileError{Path: path, Message: "permission denied", Hint: fmt.Sprintf("let the user that this ftproxy runs as (uid %d) read it", os.Getuid()), Err: err}
	case errors.Is(err, syscall.EISDIR):
		return nil, &FileError{Path: path, Message: "is a directory", Hint: "write the path of a PEM file in it", Err: err}
	case err != nil:
		return nil, &FileError{Path: path, Message: "cannot be read: " + err.Error(), Hint: "write the path of a PEM file", Err: err}
	}
	return text, nil
}

// holds tells whether text has a PEM block of one of the types.
func holds(text []byte, types ...string) bool {
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			return false
		}
		for _, t := range types {
			if block.Type == t {
				return true
			}
		}
	}
}
