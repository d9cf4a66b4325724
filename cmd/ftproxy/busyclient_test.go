package main

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"time"

	"ftproxy/rewrite"
)

// busyTimeout ends what hangs; it measures nothing.
const busyTimeout = time.Minute

// A busyClient is a client that transfers in all modes, one after the other, and
// takes anything but success for a fault.
type busyClient struct {
	conn net.Conn
	r    *bufio.Reader
}

// busySession is one session with some transfers: to and from a server that has
// the demo's files.
func busySession(at netip.AddrPort, name string, random *rand.Rand, transfers int) error {
	conn, err := net.DialTimeout("tcp", at.String(), busyTimeout)
	if err != nil {
		return fmt.Errorf("connecting: %w", err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(5 * busyTimeout))
	c := &busyClient{conn, bufio.NewReader(conn)}
	if _, err := c.hear("220"); err != nil {
		return err
	}
	for _, step := range [][2]string{{"USER " + demoUser, "331"}, {"PASS " + demoPassword, "230"}, {"TYPE I", "200"}} {
		if _, err := c.ask(step[0], step[1]); err != nil {
			return err
		}
	}
	for i := range transfers {
		mode := []string{"PASV", "EPSV", "PORT", "EPRT"}[random.IntN(4)]
		content := make([]byte, random.IntN(100_000))
		for j := range content {
			content[j] = byte(random.Uint32())
		}
		path := fmt.Sprintf("/upload/%s-%d", name, i%3)
		if err := c.transfer(mode, "STOR "+path, content, nil); err != nil {
			return fmt.Errorf("%s STOR: %w", mode, err)
		}
		var got bytes.Buffer
		if err := c.transfer(mode, "RETR "+path, nil, &got); err != nil {
			return fmt.Errorf("%s RETR: %w", mode, err)
		}
		if sha256.Sum256(got.Bytes()) != sha256.Sum256(content) {
			return fmt.Errorf("%s: %d bytes came back of %d, or others", mode, got.Len(), len(content))
		}
	}
	_, err = c.ask("QUIT", "221")
	return err
}

func (c *busyClient) hear(code string) (string, error) {
	for {
		line, err := c.r.ReadString('\n')
		if err != nil {
			return "", fmt.Errorf("waiting for %s: %w", code, err)
		}
		if len(line) > 3 && line[3] == ' ' {
			if !strings.HasPrefix(line, code) {
				return "", fmt.Errorf("%q instead of %s", strings.TrimSpace(line), code)
			}
			return strings.TrimSpace(line), nil
		}
	}
}

func (c *busyClient) ask(command, code string) (string, error) {
	if _, err := io.WriteString(c.conn, command+"\r\n"); err != nil {
		return "", fmt.Errorf("%s: %w", command, err)
	}
	reply, err := c.hear(code)
	if err != nil {
		return "", fmt.Errorf("%s: %w", command, err)
	}
	return reply, nil
}

// transfer sends content, or receives into got.
func (c *busyClient) transfer(mode, command string, content []byte, got io.Writer) error {
	data, err := c.dataConn(mode, command)
	if err != nil {
		return err
	}
	defer data.Close()
	_ = data.SetDeadline(time.Now().Add(busyTimeout))
	if got == nil {
		_, err = data.Write(content)
	} else {
		_, err = io.Copy(got, data)
	}
	if err = errors.Join(err, data.Close()); err != nil {
		return err
	}
	_, err = c.hear("226")
	return err
}

// dataConn agrees on a data connection, says the command and opens it.
func (c *busyClient) dataConn(mode, command string) (net.Conn, error) {
	switch mode {
	case "PASV", "EPSV":
		reply, err := c.ask(mode, "2")
		if err != nil {
			return nil, err
		}
		at := c.conn.RemoteAddr().(*net.TCPAddr).AddrPort()
		if mode == "EPSV" {
			port, err := rewrite.ParseEPSV(reply)
			if err != nil {
				return nil, err
			}
			at = netip.AddrPortFrom(at.Addr(), port)
		} else if at, err = rewrite.ParsePASV(reply); err != nil {
			return nil, err
		}
		data, err := net.DialTimeout("tcp", at.String(), busyTimeout)
		if err != nil {
			return nil, err
		}
		if _, err := c.ask(command, "1"); err != nil {
			data.Close()
			return nil, err
		}
		return data, nil
	}
	local := c.conn.LocalAddr().(*net.TCPAddr).IP
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: local})
	if err != nil {
		return nil, err
	}
	defer l.Close()
	_ = l.SetDeadline(time.Now().Add(busyTimeout))
	at := l.Addr().(*net.TCPAddr).AddrPort()
	argument := rewrite.FormatPORT(at)
	if mode == "EPRT" {
		argument = rewrite.FormatEPRT(at)
	}
	if _, err := c.ask(mode+" "+argument, "200"); err != nil {
		return nil, err
	}
	if _, err := c.ask(command, "1"); err != nil {
		return nil, err
	}
	return l.Accept()
}
