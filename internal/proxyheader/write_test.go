package proxyheader

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	proxyproto "github.com/pires/go-proxyproto"
)

// What is written is what the library, which is not ours, reads.
func TestFormat(t *testing.T) {
	for _, tt := range []struct {
		version byte
		header  Header
	}{
		{1, Header{Source: client4, Destination: local4, UniqueID: "not in version 1"}},
		{1, Header{Source: client6, Destination: local6}},
		{2, Header{Source: client4, Destination: local4, UniqueID: "p-1f"}},
		{2, Header{Source: client6, Destination: local6, UniqueID: "given", Authority: "ftp.example.net"}},
		{2, Header{Source: client4, Destination: local4}},
	} {
		text, err := tt.header.Format(tt.version)
		if err != nil {
			t.Fatal(err)
		}
		h, err := proxyproto.Read(bufio.NewReader(bytes.NewReader(text)))
		if err != nil {
			t.Fatal(err)
		}
		if h.Version != tt.version || h.SourceAddr.String() != tt.header.Source.String() || h.DestinationAddr.String() != tt.header.Destination.String() {
			t.Errorf("%+v: the library reads %+v", tt.header, h)
		}
		want := map[proxyproto.PP2Type]string{}
		if tt.version == 2 && tt.header.UniqueID != "" {
			want[proxyproto.PP2_TYPE_UNIQUE_ID] = tt.header.UniqueID
		}
		if tt.version == 2 && tt.header.Authority != "" {
			want[proxyproto.PP2_TYPE_AUTHORITY] = tt.header.Authority
		}
		tlvs, err := h.TLVs()
		if err != nil || len(tlvs) != len(want) {
			t.Errorf("%+v: TLVs %+v, %v", tt.header, tlvs, err)
		}
		for _, got := range tlvs {
			if string(got.Value) != want[got.Type] {
				t.Errorf("%+v: TLV %v", tt.header, got)
			}
		}
	}
	for version := byte(1); version <= 2; version++ {
		mixed, err := Header{Source: client4, Destination: local6}.Format(version)
		if err != nil || !bytes.Contains(mixed, []byte(map[byte]string{1: "TCP6 ::ffff:198.51.100.7", 2: "\xff\xff\xc6\x33\x64\x07"}[version])) {
			t.Errorf("version %d of two families is %q, %v", version, mixed, err)
		}
		own, err := Header{Own: true, Source: client4, Destination: local4}.Format(version)
		if err != nil {
			t.Fatal(err)
		}
		if h, err := Read(bytes.NewReader(own)); err != nil || h != (Header{Own: true}) {
			t.Errorf("version %d of our own connection is %q, read as %+v, %v", version, own, h, err)
		}
	}
}

func TestSend(t *testing.T) {
	ours, peer := net.Pipe()
	defer peer.Close()
	if err := Send(ours, nil, time.Nanosecond); err != nil { // It would not end.
		t.Errorf("nothing: %v", err)
	}
	go func() { _ = Send(ours, []byte(line), time.Minute); ours.Close() }()
	if got, err := io.ReadAll(peer); string(got) != line || err != nil {
		t.Errorf("the peer reads %q, %v", got, err)
	}
	if err := Send(ours, []byte(line), time.Minute); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("after Close: %v", err)
	}
}
