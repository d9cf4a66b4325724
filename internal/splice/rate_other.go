//go:build !linux

package splice

import (
	"errors"
	"net"
)

func setRate(net.Conn, int64) error { return errors.ErrUnsupported }
