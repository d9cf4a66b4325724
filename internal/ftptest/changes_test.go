package ftptest

import "testing"

func TestChanged(t *testing.T) {
	const config = `
top = 1
[frontend.public]
listen = "203.0.113.9:21"
passive_ports = "40000"
backend = "inside"

[backend.inside]
servers = "10.0.0.5"
`
	tests := []struct{ name, changes, want string }{
		{"nothing", "", config},
		{"a key", "[frontend.public]\npassive_ports = \"41000\"\n", `
top = 1
[frontend.public]
listen = "203.0.113.9:21"
passive_ports = "41000"
backend = "inside"

[backend.inside]
servers = "10.0.0.5"
`},
		{"a key that was not there", "[backend.inside]\n  data = \"pasv\"  ", config + "data = \"pasv\"\n"},
		{"a key of the top", "top = 2\nbottom = 3", `
top = 2
bottom = 3
[frontend.public]
listen = "203.0.113.9:21"
passive_ports = "40000"
backend = "inside"

[backend.inside]
servers = "10.0.0.5"
`},
		{"no key of another's name", "[frontend.public]\nports = 1\nwithout listen", `
top = 1
[frontend.public]
passive_ports = "40000"
backend = "inside"

ports = 1
[backend.inside]
servers = "10.0.0.5"
`},
		{"tables", "without [backend.inside]\n[timeouts]\nidle = \"1s\"\n[timeouts]\nlogin=\"2s\"", `
top = 1
[frontend.public]
listen = "203.0.113.9:21"
passive_ports = "40000"
backend = "inside"

[timeouts]
idle = "1s"
login="2s"
`},
		{"what is no TOML", "[backend.inside]\n= = =\n= = =", config + "= = =\n= = =\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Changed(config, tt.changes)
			if err != nil || got != tt.want {
				t.Errorf("%v, got\n%s\nwant\n%s", err, got, tt.want)
			}
		})
	}
	for _, changes := range []string{"without [backend.other]", "without listen", "[backend.inside]\nwithout listen"} {
		if got, err := Changed(config, changes); err == nil {
			t.Errorf("%q: no error, got\n%s", changes, got)
		}
	}
}
