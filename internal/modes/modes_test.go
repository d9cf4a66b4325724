package modes

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"ftproxy/config"
	"ftproxy/internal/ftp"
)

// Which verbs a server may be told. proxy's TestModeTranslation has all pairs of sides.
func TestVerbs(t *testing.T) {
	for _, tt := range []struct {
		mode   config.DataMode
		client string
		ipv4   bool
		plain  bool
		want   string // empty: ErrFamily
	}{
		{config.DataClient, "PASV", true, false, "PASV"},
		{config.DataClient, "EPSV", true, false, "EPSV PASV"},
		{config.DataClient, "EPSV", true, true, "PASV"},
		{config.DataClient, "EPRT", true, false, "EPRT PORT"},
		{config.DataClient, "EPRT", true, true, "PORT"},
		{config.DataClient, "PORT", false, false, "EPRT"},
		{config.DataClient, "PASV", false, true, "EPSV"},
		{config.DataPassive, "PORT", true, false, "PASV"},
		{config.DataActive, "EPSV", true, false, "EPRT PORT"},
		{config.DataEPSV, "PORT", true, true, "EPSV"},
		{config.DataPASV, "EPRT", true, false, "PASV"},
		{config.DataPASV, "EPRT", false, false, ""},
		{config.DataPORT, "EPRT", false, false, ""},
	} {
		got, err := Verbs(tt.mode, tt.client, tt.ipv4, func(string) bool { return tt.plain })
		if !slices.Equal(got, strings.Fields(tt.want)) || errors.Is(err, ErrFamily) != (tt.want == "") {
			t.Errorf("%+v: %q, %v", tt, got, err)
		}
	}
}

// The port is taken from either form of reply, and only from a reply that agrees.
func TestServerAddr(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"227 Entering Passive Mode (10,0,0,5,195,80)", "10.0.0.5:50000"},
		{"229 Entering Extended Passive Mode (|||50000|)", "invalid AddrPort"},
		{"229 Entering Passive Mode (10,0,0,5,195,80)", "10.0.0.5:50000"},
		{"227 Entering Passive Mode (|||50000|)", "invalid AddrPort"},
		{"227 Entering Passive Mode (10,0,0,5,0,80)", ""},
		{"227 Entering Passive Mode", ""},
		{"200 Entering Passive Mode (10,0,0,5,195,80)", ""},
	} {
		reply := ftp.Reply{Code: int(tt.text[0]-'0')*100 + int(tt.text[1]-'0')*10 + int(tt.text[2]-'0'), Lines: []string{tt.text}}
		got, err := ServerAddr(&reply)
		if (err == nil) != (tt.want != "") || err == nil && (got.Port() != 50000 || got.String() != tt.want) {
			t.Errorf("%q: %v, %v; want %q", tt.text, got, err, tt.want)
		}
	}
}

// A client hears the server's words only where they have the form that it wants.
func TestClientReply(t *testing.T) {
	at := netip.MustParseAddrPort("203.0.113.9:40000")
	of227 := &ftp.Reply{Code: 227, Lines: []string{"227 Da (10,0,0,5,195,80)"}}
	of229 := &ftp.Reply{Code: 229, Lines: []string{"229 Da (|||50000|)"}}
	for _, tt := range []struct {
		client string
		reply  *ftp.Reply
		want   string
	}{
		{"PASV", of227, "227 Da (203,0,113,9,156,64)"},
		{"PASV", of229, "227 Entering Passive Mode (203,0,113,9,156,64)."},
		{"EPSV", of229, "229 Da (|||40000|)"},
		{"EPSV", of227, "229 Entering Extended Passive Mode (|||40000|)"},
	} {
		if got := ClientReply(tt.client, at, tt.reply); got != tt.want {
			t.Errorf("%s, %q: %q; want %q", tt.client, tt.reply.Text(), got, tt.want)
		}
	}
}

func TestRefusal(t *testing.T) {
	for _, tt := range []struct {
		client, server string
		code, want     int
	}{
		{"PASV", "PASV", 502, 502}, {"PASV", "PORT", 502, 425}, {"EPSV", "EPSV", 522, 425},
		{"PASV", "PASV", 200, 425}, {"PORT", "PASV", 450, 450}, {"EPRT", "PORT", 500, 500},
	} {
		if got := Refusal(tt.client, tt.server, tt.code); got != tt.want {
			t.Errorf("%+v: %d", tt, got)
		}
	}
}
