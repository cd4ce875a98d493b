// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package controllertest

import (
	"slices"
	"strings"
	"sync"
	"testing"

	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
)

// Log is what the controllers of this process log.
type Log struct {
	mu    sync.Mutex
	lines []string
}

// A process has one logger, set once; it writes to the Logs of the tests that are running.
var logger struct {
	once sync.Once
	mu   sync.Mutex
	logs []*Log
}

// Logs records what the controllers log from now on until the test ends.
func Logs(t testing.TB) *Log {
	logger.once.Do(func() { ctrl.SetLogger(zap.New(zap.WriteTo(toLogs{}), zap.UseDevMode(true), zap.JSONEncoder())) })
	l := &Log{}
	logger.mu.Lock()
	defer logger.mu.Unlock()
	logger.logs = append(logger.logs, l)
	t.Cleanup(func() {
		logger.mu.Lock()
		defer logger.mu.Unlock()
		logger.logs = slices.DeleteFunc(logger.logs, func(other *Log) bool { return other == l })
	})
	return l
}

type toLogs struct{}

// Write takes one line. Where in our code an error was logged is not worth a screen.
func (toLogs) Write(line []byte) (int, error) {
	text, _, _ := strings.Cut(string(line), `,"stacktrace":`)
	logger.mu.Lock()
	defer logger.mu.Unlock()
	for _, l := range logger.logs {
		l.mu.Lock()
		l.lines = append(l.lines, strings.TrimSpace(text))
		l.mu.Unlock()
	}
	return len(line), nil
}

// Lines are the lines so far that contain text.
func (l *Log) Lines(text string) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(l.lines), func(line string) bool { return !strings.Contains(line, text) })
}

// Errors are the errors so far.
func (l *Log) Errors() []string { return l.Lines(`"level":"error"`) }
