// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package kfam

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"path"
	"runtime/debug"
	"strings"
	"time"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"berth.dev/berth/internal/access"
)

// failure is an answer that is no success: a code, and what to tell the caller.
type failure struct {
	code int
	text string
}

// Error is what the caller is told.
func (f failure) Error() string { return f.text }

// denied is the answer to whoever may not: the clients know it by its code and its empty body.
func denied(code int) error { return failure{code: code} }

// request is one request and who sent it.
type request struct {
	*http.Request

	caller access.Caller
	log    logr.Logger
}

// route is one operation of the API.
type route struct {
	method, path string
	// action is create, read or delete in the metrics.
	action string
	// open routes are for everybody, known or not.
	open bool
	// otherwise is the code of errors that have none of their own, as clients know it.
	otherwise int
	handle    func(http.ResponseWriter, *request) error
}

// writes says whether the route changes anything.
func (rt route) writes() bool { return rt.method != http.MethodGet }

func (s *Server) routes() []route {
	return []route{
		{method: "GET", path: "/kfam", action: "read", open: true, handle: s.hello},
		{method: "GET", path: "/kfam/openapi.json", action: "read", open: true, handle: s.openAPI},
		{method: "POST", path: "/kfam/v1/profiles", action: "create", otherwise: http.StatusForbidden, handle: s.createProfile},
		{method: "DELETE", path: "/kfam/v1/profiles/{profile}", action: "delete", otherwise: http.StatusUnauthorized, handle: s.deleteProfile},
		{method: "GET", path: "/kfam/v1/bindings", action: "read", otherwise: http.StatusForbidden, handle: s.listBindings},
		{method: "POST", path: "/kfam/v1/bindings", action: "create", otherwise: http.StatusForbidden, handle: s.createBinding},
		{method: "DELETE", path: "/kfam/v1/bindings", action: "delete", otherwise: http.StatusForbidden, handle: s.deleteBinding},
		{method: "GET", path: "/kfam/v1/role/clusteradmin", action: "read", otherwise: http.StatusForbidden, handle: s.isClusterAdmin},
	}
}

// Handler serves the whole API.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	paths := map[string]bool{}
	for _, rt := range s.routes() {
		mux.Handle(rt.method+" "+rt.path, s.serve(rt))
		paths[rt.path] = true
	}
	for path := range paths {
		mux.HandleFunc(path, methodNotAllowed) // for all other methods
	}
	mux.Handle("GET /metrics", s.metrics.handler())
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "ok") })
	mux.HandleFunc("GET /readyz", s.ready)
	// A browser says where a request comes from: no page of another site may use the cookies of whoever looks at it.
	ownPages := http.NewCrossOriginProtection()
	ownPages.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "this was sent by a page of another site", http.StatusForbidden)
	}))
	return s.recovered(ownPages.Handler(withoutSlash(mux)))
}

// withoutSlash serves a path with a slash at its end, or more, like the one without. A redirect, which the mux would
// answer, turns a POST into a GET in many clients.
func withoutSlash(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		trimmed := strings.TrimRight(r.URL.Path, "/")
		if trimmed == "" || path.Clean(trimmed) != trimmed || strings.HasPrefix(trimmed, "//") {
			http.NotFound(w, r)
			return
		}
		if trimmed != r.URL.Path {
			url := *r.URL
			url.Path, url.RawPath = trimmed, strings.TrimRight(url.RawPath, "/")
			r = r.WithContext(r.Context())
			r.URL = &url
		}
		next.ServeHTTP(w, r)
	})
}

func methodNotAllowed(w http.ResponseWriter, _ *http.Request) {
	w.WriteHeader(http.StatusMethodNotAllowed)
}

// recovered turns a panic into an answer, wherever it came from.
func (s *Server) recovered(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			switch problem := recover(); problem {
			case nil:
			case http.ErrAbortHandler:
				panic(problem)
			default:
				s.Log.Error(fmt.Errorf("panic: %v", problem), "A request could not be served", "stack", string(debug.Stack()))
				http.Error(w, "this request could not be served; the log of the server says why", http.StatusInternalServerError)
			}
		}()
		next.ServeHTTP(w, r)
	})
}

// serve is the one place where requests are told apart by caller and errors become answers.
func (s *Server) serve(rt route) http.Handler {
	routeLog := s.Log.WithValues("method", rt.method, "route", rt.path) // made once: it costs more than a read
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		begin := time.Now()
		req := &request{Request: r, log: routeLog}
		w.Header().Set("Content-Type", "application/json; charset=UTF-8")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		err := s.admit(rt, req)
		if err == nil {
			if rt.writes() {
				r.Body = http.MaxBytesReader(w, r.Body, maxBody)
			}
			err = rt.guarded(w, req)
		}
		code := http.StatusOK
		if err != nil {
			code = s.answer(w, rt, req, err)
		}
		s.metrics.count(rt, code, err)
		if flow := req.log.V(1); flow.Enabled() {
			flow.Info("Served a request", "caller", req.caller.Name, "code", code, "duration", time.Since(begin).String())
		}
	})
}

// guarded handles r. A panic is an error: one bad request must not look like a dead server.
func (rt route) guarded(w http.ResponseWriter, r *request) (err error) {
	defer func() {
		switch problem := recover(); problem {
		case nil:
		case http.ErrAbortHandler:
			panic(problem)
		default:
			err = fmt.Errorf("panic: %v\n%s", problem, debug.Stack())
		}
	}()
	return rt.handle(w, r)
}

// admit finds out who sent r, and whether they may ask anything now.
func (s *Server) admit(rt route, r *request) (err error) {
	if rt.open {
		return nil
	}
	if !s.synced.Load() {
		// Half a list would look like people who have lost their access.
		return failure{http.StatusServiceUnavailable, notRead}
	}
	if r.caller, err = s.Authentication.caller(r.Request); err != nil {
		return err
	}
	if !r.caller.Known() {
		return failure{http.StatusUnauthorized, "nobody knows who you are: send a bearer token, or come through the gateway or the dashboard"}
	}
	if rt.writes() && !s.limit.allow(r) {
		return failure{http.StatusTooManyRequests, "too many changes at once: wait a second and try again"}
	}
	return nil
}

// answer sends an error as plain text.
func (s *Server) answer(w http.ResponseWriter, rt route, r *request, err error) int {
	code, text := rt.otherwise, err.Error()
	var told failure
	var tooLarge *http.MaxBytesError
	var status apierrors.APIStatus
	var network net.Error
	switch {
	case errors.As(err, &told):
		code = told.code
	case errors.As(err, &tooLarge):
		code, text = http.StatusRequestEntityTooLarge, fmt.Sprintf("the body is larger than %d bytes", tooLarge.Limit)
	case errors.As(err, &status):
		// The API server says what is wrong with what was asked for; its own troubles are not the caller's.
		// So is that it does not know us, or has too much to do.
		text = status.Status().Message
		if its := status.Status().Code; its >= http.StatusInternalServerError || its == http.StatusUnauthorized || its == http.StatusTooManyRequests {
			code, text = http.StatusServiceUnavailable, unavailable
		}
	case errors.As(err, &network):
		code, text = http.StatusServiceUnavailable, unavailable
	case r.Context().Err() != nil:
		code = statusClosedByClient
	default:
		code, text = http.StatusInternalServerError, "this request could not be served; the log of the server says why"
	}
	if code >= http.StatusInternalServerError {
		r.log.Error(err, "A request failed")
	}
	if text != "" {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	}
	if code == http.StatusTooManyRequests {
		w.Header().Set("Retry-After", "1")
	}
	w.WriteHeader(code)
	fmt.Fprint(w, text)
	return code
}

const (
	notRead     = "the cluster has not been read yet: try again in a moment"
	unavailable = "the cluster can't be reached or is too busy: try again"
	// maxBody is the largest body that is read, in bytes.
	maxBody = 1 << 20
	// statusClosedByClient is what is counted when nobody waits for the answer any more.
	statusClosedByClient = 499
)

func (s *Server) hello(w http.ResponseWriter, _ *request) error {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, err := fmt.Fprint(w, "Hello World!")
	return err
}

func (s *Server) ready(w http.ResponseWriter, _ *http.Request) {
	if !s.synced.Load() || s.stopping.Load() {
		http.Error(w, notRead, http.StatusServiceUnavailable)
		return
	}
	fmt.Fprint(w, "ok")
}
