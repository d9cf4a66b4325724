package repocheck

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"ftproxy/config"
)

// examples are the files below examples/ with that ending.
func examples(t *testing.T, ending string) (all []string) {
	t.Helper()
	err := filepath.WalkDir(filepath.Join("..", "..", "examples"), func(path string, d fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, ending) {
			all = append(all, path)
		}
		return err
	})
	if err != nil || len(all) == 0 {
		t.Fatalf("no *%s: %v", ending, err)
	}
	return all
}

// Every configuration of an example is one that ftproxy takes.
func TestExampleConfigurations(t *testing.T) {
	for _, path := range examples(t, ".toml") {
		if _, err := config.Load(path); err != nil {
			t.Error(err)
		}
	}
}

// The parts of Kubernetes' objects that the examples use: a field that is not here is
// an error, as is one that is misspelt.
type (
	object struct {
		APIVersion string `yaml:"apiVersion"`
		Kind       string
		Metadata   struct{ Name string }
		Data       map[string]string // of a ConfigMap
		Spec       spec
	}
	spec struct { // of a DaemonSet, a Deployment or a Service
		Replicas              *int
		Strategy              struct{ Type string }
		Selector              map[string]any
		Template              template
		Type                  string
		ExternalTrafficPolicy string `yaml:"externalTrafficPolicy"`
		Ports                 []servicePort
	}
	template struct {
		Metadata struct{ Labels map[string]string }
		Spec     struct {
			NodeSelector   map[string]string `yaml:"nodeSelector"`
			Grace          int               `yaml:"terminationGracePeriodSeconds"`
			InitContainers []container       `yaml:"initContainers"`
			Containers     []container
			Volumes        []struct {
				Name      string
				ConfigMap *struct{ Name string } `yaml:"configMap"`
				EmptyDir  *struct{}              `yaml:"emptyDir"`
			}
		}
	}
	container struct {
		Name, Image   string
		Command, Args []string
		Env           []struct {
			Name      string
			ValueFrom struct {
				FieldRef struct {
					FieldPath string `yaml:"fieldPath"`
				} `yaml:"fieldRef"`
			} `yaml:"valueFrom"`
		}
		Ports          []containerPort
		ReadinessProbe *struct {
			TCPSocket struct{ Port string } `yaml:"tcpSocket"`
		} `yaml:"readinessProbe"`
		VolumeMounts []struct {
			Name      string
			MountPath string `yaml:"mountPath"`
		} `yaml:"volumeMounts"`
	}
	containerPort struct {
		Name          string
		ContainerPort int `yaml:"containerPort"`
		HostPort      int `yaml:"hostPort"`
	}
	servicePort struct {
		Name       string
		Port       int
		TargetPort string `yaml:"targetPort"`
		NodePort   int    `yaml:"nodePort"`
	}
)

// manifests reads the objects of a file, by kind.
func manifests(t *testing.T, path string) map[string]object {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string]object)
	in := yaml.NewDecoder(bytes.NewReader(text))
	in.KnownFields(true)
	for {
		var o object
		err := in.Decode(&o)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		if _, twice := all[o.Kind]; twice || o.Metadata.Name == "" {
			t.Errorf("%s: a %s is there twice, or has no name", path, o.Kind)
		}
		all[o.Kind] = o
	}
}

var apiVersions = map[string]string{"ConfigMap": "v1", "Service": "v1", "DaemonSet": "apps/v1", "Deployment": "apps/v1"}

// The manifests of Kubernetes fit together, and with the ftproxy inside: each port
// that clients are told leads to the port that ftproxy listens on. No API server has
// seen them.
func TestExampleManifests(t *testing.T) {
	for _, path := range examples(t, ".yaml") {
		all := manifests(t, path)
		for kind, o := range all {
			if apiVersions[kind] != o.APIVersion {
				t.Errorf("%s: %s of %q", path, kind, o.APIVersion)
			}
		}
		c, err := config.Parse(path, []byte(all["ConfigMap"].Data["config.toml"]))
		if err != nil {
			t.Error(err)
			continue
		}
		work, service := all["DaemonSet"], all["Service"]
		if all["Deployment"].Kind != "" {
			work = all["Deployment"]
		}
		pod := work.Spec.Template
		labels, _ := work.Spec.Selector["matchLabels"].(map[string]any)
		if labels["app"] == nil || labels["app"] != pod.Metadata.Labels["app"] || service.Kind != "" && service.Spec.Selector["app"] != labels["app"] {
			t.Errorf("%s: selectors and labels differ", path)
		}
		if len(pod.Spec.Containers) != 1 || pod.Spec.Containers[0].Image == "" || pod.Spec.Grace < int(c.Timeouts.Drain.Seconds()) {
			t.Errorf("%s: want one container with an image, and time to drain", path)
			continue
		}
		reach := outside(pod.Spec.Containers[0].Ports, service.Spec.Ports)
		f := c.Frontends[0]
		for port := int(f.PassivePorts.First); port <= int(f.PassivePorts.Last); port++ {
			if got, want := reach[port], port+f.AdvertisedPortOffset; got != want {
				t.Errorf("%s: port %d is reached at %d, and clients are told %d", path, port, got, want)
			}
		}
		if reach[int(f.Listen[0].Port())] == 0 || len(reach) != int(f.PassivePorts.Last-f.PassivePorts.First)+2 {
			t.Errorf("%s: the control port is not reached, or too many others are: %v", path, reach)
		}
		mounted(t, path, pod, all["ConfigMap"].Metadata.Name)
	}
}

// outside tells where each port of a container is reached.
func outside(ports []containerPort, service []servicePort) map[int]int {
	reach := make(map[int]int)
	for _, p := range ports {
		if p.HostPort != 0 {
			reach[p.ContainerPort] = p.HostPort
		}
		for _, s := range service {
			if s.TargetPort == p.Name && 30000 <= s.NodePort && s.NodePort <= 32767 {
				reach[p.ContainerPort] = s.NodePort
			}
		}
	}
	return reach
}

// mounted expects that containers mount volumes that are there, and that one of these
// is the ConfigMap.
func mounted(t *testing.T, path string, pod template, configMap string) {
	t.Helper()
	volumes, found := make(map[string]bool), false
	for _, v := range pod.Spec.Volumes {
		volumes[v.Name] = true
		found = found || v.ConfigMap != nil && v.ConfigMap.Name == configMap
	}
	if !found {
		t.Errorf("%s: no volume of ConfigMap %s", path, configMap)
	}
	for _, c := range append(pod.Spec.InitContainers, pod.Spec.Containers...) {
		for _, m := range c.VolumeMounts {
			if !volumes[m.Name] {
				t.Errorf("%s: %s mounts %s, which is not there", path, c.Name, m.Name)
			}
		}
	}
}
