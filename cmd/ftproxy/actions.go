package main

import (
	"context"
	"os"

	"ftproxy/internal/admin"
)

// Reload, Drain and Status are what the control socket asks for.
var _ admin.Actions = (*service)(nil)

// Reload is a SIGHUP that waits and tells what came of it.
func (s *service) Reload(context.Context) (admin.Reloaded, error) {
	return s.reload("ftproxy reload")
}

// Drain is a SIGTERM that waits until the process has left service.
func (s *service) Drain(ctx context.Context) (admin.Drained, error) {
	select {
	case s.asked <- "ftproxy drain":
	default: // It was asked already.
	}
	select {
	case <-s.left:
		return admin.Drained{Cut: s.cut}, nil
	case <-ctx.Done():
		return admin.Drained{}, context.Cause(ctx)
	}
}

// Status tells what the service does now.
func (s *service) Status() admin.Status {
	st := s.process.Status()
	status := admin.Status{
		Version:       buildVersion(),
		State:         "serving",
		PID:           os.Getpid(),
		Started:       s.began,
		ConfiguredAt:  st.Applied,
		Config:        absolute(s.file),
		LastReload:    s.reloaded.Load(),
		Sessions:      st.Sessions,
		SessionsOlder: st.Earlier,
		SessionsLimit: st.SessionLimit,
		SessionsTotal: int(st.Started),
		Transfers:     st.Transfers,
		Descriptors:   admin.DescriptorStatus{Used: openDescriptors(), Limit: st.Descriptors},
	}
	if !s.serving.Load() {
		status.State = "draining"
	}
	conf := s.conf.Load()
	if conf == nil { // The start is not over.
		return status
	}
	open := s.process.Addrs()
	for _, f := range conf.Frontends {
		fs := admin.FrontendStatus{Name: f.Name, Backend: f.Backend, Sessions: st.ByFrontend[f.Name]}
		for _, address := range f.Listen {
			if a := open[address]; a != nil {
				fs.Listen = append(fs.Listen, a.String())
			}
		}
		status.Frontends = append(status.Frontends, fs)
	}
	status.Servers = serverStatus(st)
	for _, u := range st.Ports {
		status.Ranges = append(status.Ranges, admin.RangeStatus{
			Address: u.Local.String(), Ports: u.Ports.String(), Size: u.Ports.Len(),
			Pending: u.Pending, Held: u.Held, Waiting: u.Waiting,
		})
	}
	return status
}
