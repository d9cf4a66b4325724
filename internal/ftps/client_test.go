package ftps

import (
	"testing"

	"ftproxy/config"
)

// What each command of a client's is answered with.
func TestClientCommands(t *testing.T) {
	explicit := &Frontend{mode: config.TLSExplicit}
	private := &Frontend{mode: config.TLSExplicit, RequireData: true}
	auth := func(c Client, front *Frontend, secured bool, mechanism string) int {
		code, _ := c.AUTH(front, secured, mechanism)
		return code
	}
	pbsz := func(secured bool, size string) int {
		code, _ := new(Client).PBSZ(secured, size)
		return code
	}
	prot := func(front *Frontend, secured bool, level string) int {
		_, code, _ := new(Client).PROT(front, secured, level)
		return code
	}
	for _, tt := range []struct {
		name      string
		got, want int
	}{
		{"AUTH without TLS", auth(Client{}, nil, false, "TLS"), 502},
		{"AUTH twice", auth(Client{}, explicit, true, "TLS"), 503},
		{"AUTH after USER", auth(Client{Late: true}, explicit, false, "TLS"), 503},
		{"AUTH GSSAPI", auth(Client{}, explicit, false, "GSSAPI"), 504},
		{"AUTH tls-c", auth(Client{}, explicit, false, "tls-c"), 234},
		{"PBSZ in the clear", pbsz(false, "0"), 503},
		{"PBSZ x", pbsz(true, "x"), 501},
		{"PBSZ", pbsz(true, ""), 501},
		{"PBSZ 4294967296", pbsz(true, "4294967296"), 200},
		{"PROT in the clear", prot(explicit, false, "P"), 503},
		{"PROT S", prot(explicit, true, "S"), 536},
		{"PROT X", prot(explicit, true, "X"), 504},
		{"PROT c", prot(explicit, true, "c"), 200},
		{"PROT C, P required", prot(private, true, "C"), 534},
	} {
		if tt.got != tt.want {
			t.Errorf("%s: %d; want %d", tt.name, tt.got, tt.want)
		}
	}
	var c Client
	if c.AUTH(explicit, false, "SSL"); c.Level != 'P' {
		t.Error("AUTH SSL does not protect data connections")
	}
}

func TestServerLevel(t *testing.T) {
	for _, tt := range []struct {
		backend        *Backend
		always, client bool
		want           byte
	}{
		{nil, false, true, 'x'},
		{&Backend{Data: config.DataPrivate}, false, false, 'P'},
		{&Backend{Data: config.DataClear}, false, true, 'C'},
		{&Backend{Data: config.DataClear}, true, false, 'P'},
		{&Backend{Data: config.DataSameAsClient}, false, true, 'P'},
		{&Backend{Data: config.DataSameAsClient}, false, false, 'C'},
	} {
		if got := tt.backend.Level('x', tt.always, tt.client); got != tt.want {
			t.Errorf("%+v: %c", tt, got)
		}
	}
}
