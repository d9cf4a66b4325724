package proxyheader

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"

	proxyproto "github.com/pires/go-proxyproto"
	"github.com/pires/go-proxyproto/tlvparse"

	"ftproxy/internal/tcp"
)

// sameFamily writes both addresses of a version 1 line as IPv6 where the second is not of
// the family that the line names. nginx sends such lines: it names the family of the
// client, also where it was reached by the other one, as it may be behind another proxy
// (set_real_ip_from). The library refuses them, as the specification does (§2.1).
func sameFamily(raw []byte) []byte {
	words := strings.Split(string(raw), " ")
	if len(words) != 6 || words[0] != "PROXY" {
		return raw
	}
	const mapped = "::ffff:"
	source6, destination6 := strings.Contains(words[2], ":"), strings.Contains(words[3], ":")
	switch {
	case words[1] == "TCP4" && !source6 && destination6:
		words[1], words[2] = "TCP6", mapped+words[2]
	case words[1] == "TCP6" && source6 && !destination6:
		words[3] = mapped + words[3]
	}
	return []byte(strings.Join(words, " "))
}

// Read reads the header that a connection begins with, and not a byte more: all that
// follows is left for whoever reads next, so that splice(2) can move it. The read
// deadline of the connection bounds it.
func Read(conn io.Reader) (Header, error) {
	raw, err := readRaw(conn)
	if err != nil {
		return Header{}, err
	}
	raw = sameFamily(raw)
	parsed, err := proxyproto.Read(bufio.NewReaderSize(bytes.NewReader(raw), len(raw)))
	if err != nil {
		return Header{}, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if parsed.Command.IsLocal() {
		return Header{Own: true}, nil
	}
	source, destination, ok := parsed.TCPAddrs()
	if !ok {
		return Header{}, fmt.Errorf("%w: it is not about TCP", ErrInvalid)
	}
	h := Header{Source: tcp.AddrPort(source), Destination: tcp.AddrPort(destination)}
	h.readTLVs(parsed)
	return h, nil
}

// readTLVs takes what else a version 2 header tells. None of it is needed.
func (h *Header) readTLVs(parsed *proxyproto.Header) {
	tlvs, err := parsed.TLVs()
	if err != nil {
		return
	}
	for _, t := range tlvs {
		switch t.Type {
		case proxyproto.PP2_TYPE_AUTHORITY:
			h.Authority = string(t.Value)
		case proxyproto.PP2_TYPE_UNIQUE_ID:
			h.UniqueID = string(t.Value)
		}
	}
	if ssl, found := tlvparse.FindSSL(tlvs); found {
		h.TLS, _ = ssl.SSLVersion()
	}
}

var signatureV1 = []byte("PROXY ")

const (
	startLength = 12              // both versions have more; version 2's signature is that long
	mostV1      = 107             // with CR and LF (§2.1)
	fixedV2     = startLength + 4 // then as much as its last two bytes say (§2.2)
)

// readRaw reads the bytes of a header. Version 1 tells its length by its end: its last
// part is read byte by byte.
func readRaw(conn io.Reader) ([]byte, error) {
	raw := make([]byte, startLength, mostV1)
	for n := 0; n < startLength; {
		more, err := conn.Read(raw[n:])
		n += more
		start := raw[:n]
		if !bytes.HasPrefix(proxyproto.SIGV2, start) && !bytes.HasPrefix(start, signatureV1[:min(n, len(signatureV1))]) {
			if bytes.HasPrefix(start, signatureV1[:5]) {
				return nil, fmt.Errorf("%w: PROXY without a space", ErrInvalid)
			}
			return nil, ErrMissing
		}
		if err != nil && n < startLength {
			return nil, incomplete(err, ErrMissing)
		}
	}
	if raw[0] == signatureV1[0] {
		return readRawV1(conn, raw)
	}
	return readRawV2(conn, raw)
}

func readRawV1(conn io.Reader, raw []byte) ([]byte, error) {
	for raw[len(raw)-1] != '\n' {
		if len(raw) == mostV1 {
			return nil, fmt.Errorf("%w: longer than %d bytes", ErrInvalid, mostV1)
		}
		raw = append(raw, 0)
		if _, err := io.ReadFull(conn, raw[len(raw)-1:]); err != nil {
			return nil, incomplete(err, ErrInvalid)
		}
	}
	return raw, nil
}

func readRawV2(conn io.Reader, raw []byte) ([]byte, error) {
	raw = raw[:fixedV2]
	if _, err := io.ReadFull(conn, raw[startLength:]); err != nil {
		return nil, incomplete(err, ErrInvalid)
	}
	rest := binary.BigEndian.Uint16(raw[fixedV2-2:])
	if rest > proxyproto.MaxV2HeaderSize {
		return nil, fmt.Errorf("%w: %d bytes of addresses and TLVs, more than %d", ErrInvalid, rest, proxyproto.MaxV2HeaderSize)
	}
	raw = append(raw, make([]byte, rest)...)
	if _, err := io.ReadFull(conn, raw[fixedV2:]); err != nil {
		return nil, incomplete(err, ErrInvalid)
	}
	return raw, nil
}

// incomplete is why a header did not come whole.
func incomplete(err, what error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: the connection ended within it", what)
	}
	return fmt.Errorf("%w: %w", what, err)
}
