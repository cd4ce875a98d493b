// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

// Package cluster runs a control plane: etcd, kube-apiserver and kube-controller-manager, each a child process that
// ends with its parent.
package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// The parts of the control plane, as they are called in messages, log files and control commands.
const (
	Etcd              = "etcd"
	APIServer         = "kube-apiserver"
	ControllerManager = "kube-controller-manager"
)

// Components returns the names of the parts, users after what they use.
func Components() []string { return []string{Etcd, APIServer, ControllerManager} }

// ListenerFD is the file descriptor on which kube-apiserver finds its listening socket. The parent opens the socket, so
// that no other process can take the port between choosing it and serving on it.
const ListenerFD = 3

// RunCommand is the hidden subcommand that runs one part of the control plane in this process.
const RunCommand = "run-component"

const (
	controllerManagerKubeconfig = "kube-controller-manager.kubeconfig"
	pollInterval                = 10 * time.Millisecond
	// stopGrace is for the API server to deliver what it holds (audit events), and for etcd to close its files.
	stopGrace = 5 * time.Second
	// portPatience is how long a restarted API server waits for its port, should another process have taken it.
	portPatience = 10 * time.Second
)

// Audit says what the API server records and where it posts it. The zero value records nothing.
type Audit struct {
	// PolicyFile is the path of an audit policy.
	PolicyFile string
	// WebhookURL receives the events.
	WebhookURL string
}

// Cluster is a control plane whose parts can be started and stopped one by one.
type Cluster struct {
	dir   *Dir
	pki   pki
	audit Audit
	// address is where the API server listens; it stays the same over restarts.
	address string

	mu    sync.Mutex
	parts map[string]*process
	// failed receives the error of each part that ends without being asked to.
	failed chan error
}

// New prepares a control plane in dir: keys, certificates, kubeconfigs and a port. Nothing runs yet.
func New(dir *Dir, audit Audit, now time.Time) (*Cluster, error) {
	c := &Cluster{
		dir:    dir,
		pki:    pki{dir: dir.file(pkiDir)},
		audit:  audit,
		parts:  map[string]*process{},
		failed: make(chan error, len(Components())),
	}
	return c, c.pki.ensure(now)
}

// Server returns the URL of the API server. It is known once the API server has been started.
func (c *Cluster) Server() string { return "https://" + c.address }

// Kubeconfig returns the path of the administrator's kubeconfig inside the directory.
func (c *Cluster) Kubeconfig() string { return c.dir.file(kubeconfigFile) }

// Failed receives an error when a part has ended unexpectedly.
func (c *Cluster) Failed() <-chan error { return c.failed }

// Config returns a client configuration for the administrator, without client-side limits.
func (c *Cluster) Config() (*rest.Config, error) {
	config, err := clientcmd.BuildConfigFromFlags("", c.Kubeconfig())
	if err != nil {
		return nil, err
	}
	config.QPS = -1
	return config, nil
}

// Start starts the named part and returns when it serves. Starting one that runs does nothing.
func (c *Cluster) Start(ctx context.Context, name string) error {
	c.mu.Lock()
	running := c.parts[name]
	c.mu.Unlock()
	if running != nil {
		return nil
	}
	switch name {
	case Etcd:
		return c.startEtcd(ctx)
	case APIServer:
		return c.startAPIServer(ctx)
	case ControllerManager:
		_, err := c.launch(ctx, name, controllerManagerArgs(c.dir, c.pki))
		return err
	}
	return fmt.Errorf("no component %q, want one of %q", name, Components())
}

// Stop kills the named part, as a crash would. Stopping one that does not run does nothing.
func (c *Cluster) Stop(name string) error {
	if !slices.Contains(Components(), name) {
		return fmt.Errorf("no component %q, want one of %q", name, Components())
	}
	c.mu.Lock()
	p := c.parts[name]
	delete(c.parts, name)
	c.mu.Unlock()
	if p != nil {
		p.stop(0)
	}
	return nil
}

// Close ends all parts, users before what they use.
func (c *Cluster) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, name := range slices.Backward(Components()) {
		p := c.parts[name]
		if p == nil {
			continue
		}
		p.stop(c.grace(name))
	}
	clear(c.parts)
}

// grace returns how long a part may take to end: none where nothing would be lost.
func (c *Cluster) grace(name string) time.Duration {
	if name == APIServer && c.audit.WebhookURL != "" || name == Etcd && !c.dir.temp {
		return stopGrace
	}
	return 0
}

func (c *Cluster) startEtcd(ctx context.Context) error {
	for _, stale := range []string{etcdClientSocket, etcdPeerSocket, etcdReadyFile} {
		if err := os.Remove(c.dir.file(stale)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	p, err := c.launch(ctx, Etcd, etcdArgs(c.dir))
	if err != nil {
		return err
	}
	return p.await(ctx, func(context.Context) bool {
		_, err := os.Stat(c.dir.file(etcdReadyFile))
		return err == nil
	})
}

func (c *Cluster) startAPIServer(ctx context.Context) error {
	listener, err := c.listen(ctx)
	if err != nil {
		return err
	}
	socket, err := listener.File()
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	err = c.writeConfigs()
	var p *process
	if err == nil {
		p, err = c.launch(ctx, APIServer, apiServerArgs(c.dir, c.pki, c.audit), socket)
	}
	// From here on only the child has the socket: when it dies, clients are refused rather than left waiting.
	if err := errors.Join(err, socket.Close(), listener.Close()); err != nil {
		return err
	}
	config, err := c.Config()
	if err != nil {
		return err
	}
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return err
	}
	return p.await(ctx, healthy(client, c.Server()+"/readyz"))
}

// healthy returns a function that asks a health endpoint for its opinion.
func healthy(client *http.Client, url string) func(context.Context) bool {
	return func(ctx context.Context) bool {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
		if err != nil {
			return false
		}
		response, err := client.Do(request)
		if err != nil {
			return false
		}
		defer response.Body.Close()
		return response.StatusCode == http.StatusOK
	}
}

// listen opens the API server's socket: on its known port when it restarts, on the port it had when its directory was
// last in use if that is free, else on any. Known ports are waited for, since clients rely on them.
func (c *Cluster) listen(ctx context.Context) (*net.TCPListener, error) {
	if c.address != "" {
		return listenPatiently(ctx, c.address)
	}
	port := "0"
	if last, err := os.ReadFile(c.dir.file(portFile)); err == nil {
		port = strings.TrimSpace(string(last))
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", net.JoinHostPort("127.0.0.1", port))
	if err != nil {
		listener, err = new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	}
	if err != nil {
		return nil, err
	}
	c.address = listener.Addr().String()
	port = strconv.Itoa(listener.Addr().(*net.TCPAddr).Port)
	return listener.(*net.TCPListener), writeFile(c.dir.file(portFile), []byte(port+"\n"))
}

func listenPatiently(ctx context.Context, address string) (*net.TCPListener, error) {
	ctx, cancel := context.WithTimeout(ctx, portPatience)
	defer cancel()
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		listener, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
		if err == nil {
			return listener.(*net.TCPListener), nil
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-tick.C:
		}
	}
}

// writeConfigs writes the files that contain the API server's address or are read by it.
func (c *Cluster) writeConfigs() error {
	users := map[string]string{kubeconfigFile: tokenUsers[0].user, controllerManagerKubeconfig: tokenUsers[1].user}
	for name, user := range users {
		content, err := kubeconfig(c.Server(), c.pki, user)
		if err != nil {
			return err
		}
		if err := writeFile(c.dir.file(name), content); err != nil {
			return err
		}
	}
	if c.audit.WebhookURL == "" {
		return nil
	}
	content, err := auditWebhookKubeconfig(c.audit.WebhookURL)
	if err != nil {
		return err
	}
	return writeFile(c.dir.file(auditWebhookFile), content)
}

// ExportKubeconfig writes the administrator's kubeconfig to path as well, readable by its owner only.
func (c *Cluster) ExportKubeconfig(path string) error {
	content, err := os.ReadFile(c.Kubeconfig())
	if err != nil {
		return err
	}
	return writeFile(path, content)
}

// launch starts a part and reports its unexpected end. The lock goes along: see Dir.
func (c *Cluster) launch(ctx context.Context, name string, args []string, files ...*os.File) (*process, error) {
	log := c.dir.file(logsDir, name+".log")
	// Descriptor 3 is the listener where there is one, and the lock comes last: nobody looks for it.
	p, err := startProcess(ctx, name, args, c.dir.path, log, append(files, c.dir.lock)...)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	c.parts[name] = p
	c.mu.Unlock()
	go func() {
		<-p.done
		if !p.stopping.Load() {
			c.failed <- p.failure()
		}
	}()
	return p, nil
}

// await polls ready until it holds, the process ends or ctx does.
func (p *process) await(ctx context.Context, ready func(context.Context) bool) error {
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for !ready(ctx) {
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w; its log %q ends with:\n%s", p.name, ctx.Err(), p.log, tail(p.log))
		case <-p.done:
			return p.failure()
		case <-tick.C:
		}
	}
	return nil
}
