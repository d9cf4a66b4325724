package config

import (
	"fmt"
	"strings"
)

// What people look for under a name that another program has for it.
const (
	whereLogGoes = "remove this key: the log goes to standard error; under systemd read it with journalctl -u ftproxy, " +
		"elsewhere write it to a file with 2>>/var/log/ftproxy.log after the command"
	whereServersAre  = `write servers = ["10.0.0.5:21"]`
	whereListens     = `write listen = ":21"`
	wherePortsAre    = `write passive_ports = "30000-30099"`
	wherePublicIs    = `write public_address = "203.0.113.9"`
	whereTLSIs       = "write it in the table [%s.tls], with certificate, and key for the private key"
	whoStarts        = "remove this key: the service manager does that; see packaging/systemd"
	whereTimeoutsAre = "write [timeouts] at the top: it is one table for all frontends and backends"
)

// foreign are keys of other programs, by the table that they were written in.
var foreign = map[string]map[string]string{
	"": names(map[string]string{
		"metrics, prometheus, http, status, stats, monitoring":                                                               `write [admin] with listen = "127.0.0.1:9121"`,
		"user, group, uid, gid, daemon, daemonize, background, pidfile, pid_file, chroot, nofile, workers, worker_processes": whoStarts,
		"include, includes, import": "write everything in this file: ftproxy includes no other",
		"server, servers, upstream, upstreams, target, targets, pool, pools":      `write [backend.NAME] with servers = ["10.0.0.5:21"]`,
		"global, defaults, general, main, settings, ftproxy, proxy, ftp":          "write its keys in [log], [limits], [timeouts], [frontend.NAME] or [backend.NAME]",
		"log_level, loglevel, verbose, debug, verbosity":                          `write [log] with level = "debug"`,
		"log_file, logfile, logging, access_log, error_log, syslog, xferlog_file": whereLogGoes,
		"idle_timeout, idle_session_timeout, session_timeout, timeout_idle":       `write [timeouts] with idle = "10m"`,
		"connect_timeout":                                                                      `write [timeouts] with connect = "5s"`,
		"data_connection_timeout, data_timeout":                                                `write [timeouts] with data_stall = "5m"`,
		"maxconn, max_connections, max_clients, max_sessions":                                  "write [limits] with sessions = 2500",
		"max_per_ip, per_ip, max_connections_per_ip":                                           "write [limits] with sessions_per_client = 10",
		"pasv_min_port, pasv_max_port, passive_ports, pasv_ports, pasvportrange, passiveports": "write it in [frontend.NAME] as " + strings.TrimPrefix(wherePortsAre, "write "),
		"pasv_address, masquerade_address, masqueradeaddress, external_ip, public_ip":          "write it in [frontend.NAME] as " + strings.TrimPrefix(wherePublicIs, "write "),
		"listen_port, port, bind, address, listen_address":                                     "write it in [frontend.NAME] as " + strings.TrimPrefix(whereListens, "write "),
	}),
	"log": names(map[string]string{
		"file, output, path, target, destination, dest, filename, syslog, facility, dir, directory, to, stdout, stderr, journald": whereLogGoes,
		"rotate, max_size, maxsize, max_age, max_backups":                                                                         whereLogGoes,
	}),
	"admin": names(map[string]string{
		"port, address, addr, bind, host, enabled, enable, metrics": `write listen = "127.0.0.1:9121", or listen = "" to turn it off`,
		"user, password, username, token":                           "remove this key: only this machine can connect, and no password is asked for",
	}),
	"control": names(map[string]string{
		"path, file, listen, address, enabled, unix": `write socket = "/run/ftproxy/control.sock"`,
	}),
	"limits": names(map[string]string{
		"maxconn, max, connections, max_connections, clients, max_clients":           "write sessions = 2500",
		"per_ip, per_client, max_per_ip, connections_per_ip, connections_per_client": "write sessions_per_client = 10",
		"bandwidth, rate, rate_limit, speed":                                         `write bandwidth = "10MB/s" in [frontend.NAME] or [backend.NAME]`,
	}),
	"timeouts": names(map[string]string{
		"client, session, inactivity, control": `write idle = "10m"`,
		"server, response, command":            `write reply = "5m"`,
		"data, transfer, stalled":              `write data_stall = "5m", or data_connect = "30s" for the time until data connections are there`,
		"tls, handshake, ssl":                  `write tls_handshake = "10s"`,
		"shutdown, stop, grace, graceful":      `write drain = "10m"`,
	}),
	"frontend.NAME": names(map[string]string{
		"bind, port, listen_port, listen_address, listen_on, addr, host": whereListens,
		"address": whereListens + " for where clients connect, or " + strings.TrimPrefix(wherePublicIs, "write ") + " for what they are told in passive mode",
		"server, servers, upstream, proxy_pass, default_backend, target, backends, use_backend":                                                     `write backend = "NAME", and the servers in [backend.NAME]`,
		"pasv_min_port, pasv_max_port, pasv_ports, pasv_port_range, min_port, max_port, ports, data_ports, port_range, passive_port_range":          wherePortsAre,
		"pasv_address, masquerade_address, masqueradeaddress, external_ip, public_ip, advertise, advertised_address, nat_address, external_address": wherePublicIs,
		"welcome, greeting, ftpd_banner, welcome_message, motd":                                                                                     `write banner = "Welcome"`,
		"timeout, timeouts, idle_timeout":                               whereTimeoutsAre,
		"ssl, ftps, cert, ssl_certificate, rsa_cert_file, ssl_cert":     fmt.Sprintf(whereTLSIs, "frontend.NAME"),
		"proxy, accept_proxy, send_proxy, haproxy":                      `write proxy_protocol = true, and trusted_proxies`,
		"max_connections, maxconn, max_clients, max_per_ip, per_source": "write sessions or sessions_per_client in [limits]",
	}),
	"backend.NAME": names(map[string]string{
		"host, hosts, address, addresses, addr, port, hostname, ip, url, target, targets, upstream": whereServersAre,
		"mode":                  `write data = "passive" for how data connections are made, or mode in [backend.NAME.tls] for TLS`,
		"passive, active, pasv": `write data = "passive" or data = "active"`,
		"passive_ports":         "write it in [frontend.NAME]; data_ports are for active mode",
		"bind, bind_address, source_address, local_address, outgoing_address, interface": `write source = "10.0.0.2" with an address of this machine`,
		"timeout, timeouts, connect_timeout":                                             whereTimeoutsAre,
		"user, username, password, login":                                                "remove this key: clients log in to the server themselves",
		"weight, weights, backup, max_sessions, maxconn, max_connections":                "write [backend.NAME.server.LABEL] for each server, with address and this key in it, instead of servers",
		"algorithm, lb, lb_policy, policy, method, strategy, balancing, load_balance":    `write balance = "leastconn"`,
		"maxqueue, queue_size":                                                           "write queue = 100",
		"option, httpchk, tcp_check, health, health_check, healthcheck, checks":          `write [backend.NAME.check] with kind = "ftp"`,
		"inter, interval, check_interval, fastinter, downinter":                          `write [backend.NAME.check] with kind = "ftp" and interval = "5s"`,
		"agent, agent_check, agent_port, agent_inter":                                    "write [backend.NAME.check] with agent_port",
		"ssl, ftps, cert, verify":                                                        fmt.Sprintf(whereTLSIs, "backend.NAME"),
	}),
	"frontend.NAME.tls": names(map[string]string{
		"enabled, enable, required, implicit, explicit, on":                                           `write mode = "required", "optional" or "implicit"`,
		"cert, cert_file, certificate_file, crt, fullchain, pem, rsa_cert_file, ssl_certificate":      `write certificate = "/etc/ftproxy/ftp.example.net.pem"`,
		"key_file, private_key, privkey, private_key_file, ssl_certificate_key, rsa_private_key_file": `write key = "/etc/ftproxy/ftp.example.net.key"`,
		"ca, ca_file, client_ca_file, cacert":                                                         `write client_ca = "/etc/ftproxy/client_ca.pem"`,
		"protocols, versions, version, ssl_protocols":                                                 `write min_version = "1.2"`,
	}),
	"backend.NAME.server.LABEL": names(map[string]string{
		"host, addr, server, ip, port, hostname, url, target, name": `write address = "10.0.0.5:21"`,
		"maxconn, max_connections, max, limit, connections":         "write max_sessions = 200",
		"spare, standby, fallback":                                  "write backup = true",
		"check, inter, option, agent_check":                         `write [backend.NAME.check] with kind = "ftp": it is one table for all servers of the backend`,
		"disabled, disable, down, drain, enabled, maintenance":      "remove the table to take the server away",
	}),
	"backend.NAME.check": names(map[string]string{
		"type, mode, option, httpchk, method, protocol, check, enabled": `write kind = "tcp", "ftp" or "login"`,
		"inter, every, period, fastinter, downinter":                    `write interval = "5s"`,
		"password, pass, secret":                                        `write password_file = "/etc/ftproxy/check.password": the file holds the password alone`,
		"username, login":                                               `write user = "NAME"`,
		"agent, agent_check":                                            "write agent_port with the port of the agents",
		"port":                                                          "remove this key: checks use the port of the server; agent_port is the one of its agent",
		"up, successes, success_threshold, healthy_threshold":           "write rise = 2",
		"down, failures, failure_threshold, unhealthy_threshold, max_fails": "write fall = 3",
	}),
	"backend.NAME.tls": names(map[string]string{
		"enabled, enable, required, implicit, explicit, on":      `write mode = "explicit" or "implicit"`,
		"ca_file, cacert, ca_cert, root_ca, trusted_ca":          `write ca = "/etc/ftproxy/ca.pem"`,
		"verify, insecure, skip_verify, ssl_verify, verify_peer": "write insecure_skip_verify = true to accept any certificate; safer is ca with the server's own",
		"sni, name, hostname, host":                              `write server_name = "ftp.example.net"`,
		"protocols, versions, version":                           `write min_version = "1.2"`,
		"cert, cert_file, client_cert":                           `write certificate = "/etc/ftproxy/certificate.pem"`,
		"key_file, private_key, client_key":                      `write key = "/etc/ftproxy/certificate.key"`,
	}),
}

// names gives each of several names, as plain has them, the hint of all.
func names(lists map[string]string) map[string]string {
	hints := make(map[string]string)
	for list, hint := range lists {
		for name := range strings.SplitSeq(list, ", ") {
			hints[plain(name)] = hint
		}
	}
	return hints
}
