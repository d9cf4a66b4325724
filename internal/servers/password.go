package servers

import (
	"bytes"
	"errors"
	"fmt"
	"os"
)

// maxPassword bounds a password's file, in bytes.
const maxPassword = 512

// Why a password's file is no good.
var (
	errExposed     = errors.New("others than its owner and group can read it: chmod o= it")
	errNoPassword  = errors.New("it holds no password: write the password into it, and nothing else")
	errLines       = errors.New("it has more than one line: write the password into it, and nothing else")
	errLong        = fmt.Errorf("it is longer than %d bytes: write the password into it, and nothing else", maxPassword)
	errNotAFile    = errors.New("it is not a plain file")
	errControlByte = errors.New("the password has a control character")
)

// ReadPassword reads a file that holds a password and nothing else but one line end after
// it. The error names the file, and never quotes it.
func ReadPassword(path string) ([]byte, error) {
	wrong := func(why error) ([]byte, error) { return nil, fmt.Errorf("password_file %s: %w", path, why) }
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, fmt.Errorf("password_file: %w", err)
	case !info.Mode().IsRegular():
		return wrong(errNotAFile)
	case info.Mode().Perm()&0o007 != 0:
		return wrong(errExposed)
	case info.Size() > maxPassword:
		return wrong(errLong)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("password_file: %w", err)
	}
	text = bytes.TrimSuffix(bytes.TrimSuffix(text, []byte("\n")), []byte("\r"))
	switch {
	case len(text) == 0:
		return wrong(errNoPassword)
	case bytes.ContainsAny(text, "\r\n"):
		return wrong(errLines)
	case bytes.IndexFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f }) >= 0:
		return wrong(errControlByte)
	}
	return text, nil
}
