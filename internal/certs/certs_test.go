package certs

import (
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// What is wrong with a file is told with what to do about it.
func TestLoad(t *testing.T) {
	chain, secretKey, err := SelfSigned(time.Now().Add(time.Hour), "ftp.example.com", "192.0.2.1")
	if err != nil {
		t.Fatal(err)
	}
	certificate, key := string(chain), string(secretKey)
	_, otherKey, err := SelfSigned(time.Now().Add(time.Hour), "other.example.com")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good, other := file("good", certificate+key), file("other", string(otherKey))
	alone, secret := file("alone", certificate), file("secret", key)
	encrypted := file("encrypted", string(pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: []byte("x")})))
	for name, tt := range map[string]struct {
		certificate, key string
		want             string // "" is no error
	}{
		"both in one file":     {good, good, ""},
		"apart":                {alone, secret, ""},
		"no such file":         {filepath.Join(dir, "none"), secret, "no such file"},
		"no such key":          {alone, filepath.Join(dir, "none"), "no such file"},
		"a directory":          {dir, secret, "is a directory"},
		"no certificate":       {secret, secret, "holds no certificate"},
		"no key":               {alone, alone, "holds no private key"},
		"a certificate as key": {alone, alone, "append the key"},
		"encrypted":            {alone, encrypted, "openssl pkey"},
		"another's key":        {alone, other, "first certificate"},
		"empty":                {file("empty", ""), secret, "holds no certificate"},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := Load(tt.certificate, tt.key)
			var file *FileError
			switch {
			case tt.want == "" && (err != nil || c.Leaf == nil):
				t.Errorf("Load = %v, leaf %v", err, c.Leaf)
			case tt.want != "" && (!errors.As(err, &file) || !strings.Contains(err.Error(), tt.want)):
				t.Errorf("Load = %v, want %q", err, tt.want)
			}
		})
	}
	if _, err := Pool(alone); err != nil {
		t.Errorf("Pool: %v", err)
	}
	if _, err := Pool(secret); err == nil {
		t.Error("Pool takes a key for a certificate")
	}
	if Exposed(secret) {
		t.Error("a key of mode 0600 is exposed")
	}
	if err := os.Chmod(secret, 0o644); err != nil || !Exposed(secret) {
		t.Errorf("a key of mode 0644 is not exposed (%v)", err)
	}
}
