package integration

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// nodeftp is the Node library basic-ftp; testdata/client.mjs does the work. It
// knows no active mode.
type nodeftp struct {
	unable
	node, modules string
}

func (nodeftp) modes() []mode { return []mode{{"PASV", false}, {"EPSV", false}, {"EPSV", true}} }

var nodeftpSent = verbsAfter(`^> `)

func (n nodeftp) run(s *session, data, latin1 bool, args ...string) (string, error) {
	order := map[string]any{
		"host": s.target.addr.Addr().String(), "port": s.target.addr.Port(),
		"user": s.target.user, "password": s.target.pass,
		"mode": s.mode.verb, "encoding": "utf8", "args": args, "modules": n.modules,
	}
	if latin1 {
		order["encoding"] = "latin1"
	}
	text, err := json.Marshal(order)
	if err != nil {
		return "", err
	}
	script, err := filepath.Abs("testdata/client.mjs")
	if err != nil {
		return "", err
	}
	cmd := exec.Command(n.node, script)
	cmd.Stdin = strings.NewReader(string(text))
	cmd.Env = environ(s.t.TempDir())
	return s.exec(cmd, data, nil, nodeftpSent[s.mode.verb])
}

func (n nodeftp) list(s *session, verb string, dir name) (string, error) {
	if verb == "NLST" {
		return n.unable.list(s, verb, dir)
	}
	return n.run(s, true, dir.latin1(), "list", verb, dir.text)
}

func (n nodeftp) get(s *session, remote name, local string, how how) error {
	_, err := n.run(s, true, remote.latin1(), "get", remote.text, local, howNames[how])
	return err
}

// put resumes with SIZE and APPE, the library's documented way.
func (n nodeftp) put(s *session, local string, remote name, how how) error {
	_, err := n.run(s, true, remote.latin1(), "put", local, remote.text, howNames[how])
	return err
}

func (n nodeftp) getTree(s *session, dir name, local string) error {
	_, err := n.run(s, true, dir.latin1(), "getTree", dir.text, local)
	return err
}

func (n nodeftp) putTree(s *session, local string, dir name) error {
	_, err := n.run(s, true, dir.latin1(), "putTree", local, dir.text)
	return err
}

func (n nodeftp) rename(s *session, from, to name) error {
	_, err := n.run(s, false, from.latin1(), "rename", from.text, to.text)
	return err
}

func (n nodeftp) remove(s *session, file name) error {
	_, err := n.run(s, false, file.latin1(), "remove", file.text)
	return err
}

func (n nodeftp) mkdir(s *session, dir name) error {
	_, err := n.run(s, false, dir.latin1(), "mkdir", dir.text)
	return err
}

func (n nodeftp) rmdir(s *session, dir name) error {
	_, err := n.run(s, false, dir.latin1(), "rmdir", dir.text)
	return err
}

func (n nodeftp) abort(s *session, big, small name, local string) error {
	_, err := n.run(s, true, big.latin1(), "abort", big.text, small.text, local)
	return err
}

func (n nodeftp) version() (string, error) {
	text, err := os.ReadFile(filepath.Join(n.modules, "node_modules/basic-ftp/package.json"))
	if err != nil {
		return "", err
	}
	var pkg struct{ Version string }
	if err := json.Unmarshal(text, &pkg); err != nil {
		return "", err
	}
	node, err := firstLine(exec.Command(n.node, "--version"), `v(\S+)`)
	return fmt.Sprintf("%s on Node %s", pkg.Version, node), err
}
