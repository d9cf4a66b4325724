package proxy

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"testing"

	"ftproxy/config"
	"ftproxy/internal/transfer"
)

// TestTLSCombinations: clear and protected control connections on both sides, and
// clear and protected data on both, apart from each other (H70), in each pair of
// modes, under TLS 1.2 and 1.3. TLS roles are those of RFC 4217 §7: the client of
// FTP is the client of TLS, whoever connects.
func TestTLSCombinations(t *testing.T) {
	type side struct {
		mode config.TLSMode
		data string // the level of data connections; "" is that of no TLS
	}
	fronts := []side{{config.TLSOff, ""}, {config.TLSOptional, "C"}, {config.TLSOptional, "P"}, {config.TLSRequired, "P"}, {config.TLSImplicit, "P"}}
	backs := []side{{config.TLSOff, ""}, {config.TLSExplicit, "C"}, {config.TLSExplicit, "P"}, {config.TLSImplicit, "C"}, {config.TLSImplicit, "P"}}
	n := 0
	for _, front := range fronts {
		for _, back := range backs {
			for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
				joints := jointsOf(n)
				n++
				t.Run(fmt.Sprintf("%s-%s/%s-%s/%s", front.mode, front.data, back.mode, back.data, tls.VersionName(version)), func(t *testing.T) {
					for _, j := range joints {
						t.Run(j.String(), func(t *testing.T) {
							t.Parallel()
							s := enact(t, j, func(c *config.Config) {
								c.Frontends[0].TLS.Mode, c.Backends[0].TLS.Mode = front.mode, back.mode
								c.Frontends[0].TLS.MaxVersion, c.Backends[0].TLS.MaxVersion = version, version
								if back.data == "C" {
									c.Backends[0].TLS.Data = config.DataClear
								}
							})
							s.greet(front.mode, back.mode)
							if back.data == "P" || back.mode == config.TLSImplicit {
								s.level(back.data)
							}
							s.client.hear("220")
							if front.mode == config.TLSOptional || front.mode == config.TLSRequired {
								s.authenticate(front.data)
							}
							s.private.client = front.data == "P"
							s.logIn()
							payload := bytes.Repeat([]byte("0123456789abcdef"), 10_000)
							for _, content := range [][]byte{payload, []byte("x"), {}} {
								_, server := s.transfer(transfer.Download, content)
								if s.private.server && !server.resumed {
									t.Error("the server's data connection is a TLS session of its own")
								}
								s.transfer(transfer.Upload, content)
							}
							fields := []string{}
							for key, level := range map[string]string{"client": front.data, "server": back.data} {
								if level == "P" {
									fields = append(fields, fmt.Sprintf(`"%s_data_tls":"%s"`, key, tls.VersionName(version)))
								}
							}
							s.wantLog(fields...)
						})
					}
				})
			}
		}
	}
}
