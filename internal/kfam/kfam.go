// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

// Package kfam is the access-management API: Kubeflow's dashboard and scripts create profiles and invite contributors
// by it. It serves the wire format of Kubeflow's own (KFAM); who may do what is decided in package access.
package kfam

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/certwatcher"
	"sigs.k8s.io/controller-runtime/pkg/client"

	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/access"
	"berth.dev/berth/internal/kube/apply"
	"berth.dev/berth/internal/kube/scheme"
	"berth.dev/berth/internal/kube/slim"
	"berth.dev/berth/internal/kube/status"
	"berth.dev/berth/internal/render"
)

// Options are what a Server needs.
type Options struct {
	// Client reads past any cache, and writes.
	Client client.Client
	// Cache watches the cluster. Whoever makes the Server starts it.
	Cache cache.Cache
	// Behind says whether Cache may be out of date, as far as is known; nil for never.
	Behind func() bool
	// Render is what the administrator decided for all profiles.
	Render render.Config
	// Authentication is how callers are told apart.
	Authentication Authentication
	// Admins may manage every profile.
	Admins access.Admins
	// WritesPerSecond is how many changes a second one caller may make; 0 for any number.
	WritesPerSecond int
	// AlwaysReview asks the API server about callers whom RBAC allows to manage contributors, too: it may have an authorizer
	// that denies what RBAC allows.
	AlwaysReview bool
	// Log takes what happened.
	Log logr.Logger
}

// Server is the API.
type Server struct {
	Options

	index        *index
	contributors *contributors
	limit        *limiter
	metrics      *metrics
	teller       *teller
	buffers      sync.Pool   // of *bufio.Writer, for lists
	synced       atomic.Bool // all that there is has been read
	stopping     atomic.Bool
}

// Connect sets Client, Cache and Behind of options for the cluster.
func Connect(config *rest.Config, options *Options) error {
	kinds, err := scheme.New()
	if err != nil {
		return err
	}
	if options.Client, err = client.New(config, client.Options{Scheme: kinds}); err != nil {
		return fmt.Errorf("connect to the cluster: %w", err)
	}
	var failed trouble
	options.Behind = failed.lasts
	options.Cache, err = cache.New(config, cache.Options{
		Scheme: kinds, DefaultTransform: transform, NewInformer: slim.NewInformer, DefaultWatchErrorHandler: failed.add,
	})
	if err != nil {
		return fmt.Errorf("connect to the cluster: %w", err)
	}
	return nil
}

// New returns a Server. Start makes it read the cluster, Handler serves it.
func New(options Options) *Server {
	x := newIndex()
	return &Server{
		Options: options,
		index:   x,
		contributors: &contributors{
			client: options.Client, writer: apply.NewWriter(options.Client, options.Client), index: x, config: options.Render,
		},
		limit:   newLimiter(options.WritesPerSecond),
		metrics: newMetrics(),
		teller:  newTeller(options.Client, options.Log),
	}
}

// Start reads the cluster and keeps reading it until ctx ends. It returns when all that there is has been read, or ctx
// ends before.
func (s *Server) Start(ctx context.Context) error {
	watched, err := s.index.watch(ctx, s.Cache)
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Cache.Start(ctx) }()
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for !watched() {
		select {
		case <-ticker.C:
		case err := <-ended:
			return errors.Join(ctx.Err(), err)
		}
	}
	s.synced.Store(true)
	go s.metrics.beat(ctx)
	return nil
}

// Listen is where and how Serve listens.
type Listen struct {
	// Address is host:port.
	Address string
	// CertFile and KeyFile hold the certificate and key of TLS, which are read again when they change; empty for none.
	CertFile, KeyFile string
	// Listening is called with the address when the server listens, for tests. It may be nil.
	Listening func(net.Addr)
}

// stopWithin is how long requests that are being served have when the server stops.
const stopWithin = 20 * time.Second

// listen opens the address. The certificate is read again until ctx ends.
func (s *Server) listen(ctx context.Context, listen Listen) (net.Listener, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", listen.Address)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	if listen.CertFile == "" {
		return listener, nil
	}
	watcher, err := certwatcher.New(listen.CertFile, listen.KeyFile)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("read the certificate: %w", err), listener.Close())
	}
	go func() {
		if err := watcher.Start(ctx); err != nil {
			s.Log.Error(err, "The certificate is not read again when it changes")
		}
	}()
	return tls.NewListener(listener, &tls.Config{
		MinVersion: tls.VersionTLS12, GetCertificate: watcher.GetCertificate, NextProtos: []string{"h2", "http/1.1"},
	}), nil
}

// Serve starts s and serves it until ctx ends and all requests have been answered.
func (s *Server) Serve(ctx context.Context, listen Listen) error {
	watchCtx, stopWatching := context.WithCancel(context.WithoutCancel(ctx))
	defer stopWatching() // after the last request, which may wait for what it wrote
	listener, err := s.listen(watchCtx, listen)
	if err != nil {
		return err
	}
	server := &http.Server{
		Handler:           s.Handler(),
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      time.Minute,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(logr.ToSlogHandler(s.Log.V(1)), slog.LevelInfo), // it names addresses
	}
	told := make(chan struct{})
	tellCtx, stopTelling := context.WithCancel(watchCtx) // after the last request, too
	defer stopTelling()
	go func() { defer close(told); s.teller.run(tellCtx) }()
	ended := make(chan error, 2)
	go func() {
		if err := s.Start(watchCtx); err != nil {
			ended <- fmt.Errorf("read the cluster: %w", err)
		}
	}()
	go func() { ended <- fmt.Errorf("serve: %w", server.Serve(listener)) }()
	if listen.Listening != nil {
		listen.Listening(listener.Addr())
	}
	s.Log.Info("Serving the access-management API", "address", listener.Addr().String(), "trustHeader", s.Authentication.Trust)
	select {
	case err := <-ended:
		return errors.Join(err, server.Close())
	case <-ctx.Done():
	}
	s.stopping.Store(true)
	stopCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopWithin)
	defer cancel()
	err = server.Shutdown(stopCtx)
	stopTelling()
	<-told
	return err
}

// told logs what was done and has an Event written, if the profile p is there to have one.
func (s *Server) told(r *request, p *kubeflowv1.Profile, want wanted, changes []change) {
	if len(changes) == 0 {
		return
	}
	var notes []string
	for _, change := range changes {
		notes = append(notes, describe(want.contributor, change, r.caller.Name))
		message := "Removed a contributor"
		if change.added {
			message = "Added a contributor"
		}
		r.log.Info(message, "profile", want.namespace, "kind", want.contributor.Subject.Kind, "role", change.role)
		r.log.V(1).Info(message, "profile", want.namespace, "contributor", subjectName(want.contributor), "role", change.role, "by", r.caller.Name)
	}
	if p != nil {
		s.teller.tell(p, status.EventContributorsChanged, notes...)
	}
}
