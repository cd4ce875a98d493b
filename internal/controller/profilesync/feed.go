// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package profilesync

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	berthv1alpha1 "berth.dev/berth/api/berth/v1alpha1"
	"berth.dev/berth/internal/pmr"
	"berth.dev/berth/internal/pmrsource"
)

// list is a declared list that can be used.
type list struct {
	want       pmr.Want
	hash       string
	provenance pmrsource.Provenance
}

// feed is where one sync gets its list from, and the last good one.
type feed struct {
	key    string
	source pmrsource.Source
	// next is when it is asked again.
	next time.Time
	good *list
	// told are the conditions of the last time that it was asked.
	told []condition
	// took is how long the last comparison took.
	took time.Duration
	// failures counts the passes in a row of which a part failed.
	failures int
	// seen is what the source had the last time, good or not.
	seen pmrsource.Provenance
	// settled is what there was nothing to do for with the good list, under what settledKey stands for.
	settled    *pmr.Settled
	settledKey string
}

// settledUnder is what is remembered of the good list as long as neither the spec of s nor any class changes.
func (f *feed) settledUnder(s *berthv1alpha1.ProfileSync, classes []berthv1alpha1.ProfileClass) *pmr.Settled {
	versions := []string{}
	for i := range classes {
		versions = append(versions, string(classes[i].UID)+" "+classes[i].ResourceVersion)
	}
	slices.Sort(versions) // a cache has no order
	key := fmt.Sprintf("%s %d %q", s.UID, s.Generation, versions)
	if f.settled == nil || f.settledKey != key {
		f.settled, f.settledKey = pmr.NewSettled(), key
	}
	return f.settled
}

// feeds are those of all syncs.
type feeds struct {
	mu     sync.Mutex
	byName map[string]*feed
}

// of returns the feed of a sync. Only one worker at a time has the same one.
func (f *feeds) of(name string) *feed {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.byName == nil {
		f.byName = map[string]*feed{}
	}
	if f.byName[name] == nil {
		f.byName[name] = &feed{}
	}
	return f.byName[name]
}

// forget drops the feed of a sync that is gone.
func (f *feeds) forget(name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if known := f.byName[name]; known != nil {
		known.close()
	}
	delete(f.byName, name)
}

func (f *feed) close() {
	if closer, ok := f.source.(interface{ Close() }); ok {
		closer.Close()
	}
}

// hurry has the source of a sync asked the next time, whenever that is.
func (f *feeds) hurry(name string) {
	known := f.of(name)
	f.mu.Lock()
	defer f.mu.Unlock()
	known.next = time.Time{}
}

// due says whether f is to be asked, and if not, in how long.
func (f *feeds) due(known *feed, now time.Time) (bool, time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	wait := known.next.Sub(now)
	return wait <= 0, wait
}

// later has f asked after interval, a tenth more or less: many syncs don't ask one server at one time.
func (f *feeds) later(known *feed, now time.Time, interval time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	known.next = now.Add(time.Duration(float64(interval) * (0.9 + 0.2*rand.Float64()))) //nolint:gosec // no secret
}

// pace notes how long a comparison took.
func (f *feeds) pace(known *feed, took time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	known.took = took
}

// settled is how long changes of the cluster are waited for, so that many of them make one pass, and that a sync which has
// much to look at does not look all the time.
func (f *feeds) settled(name string) time.Duration {
	known := f.of(name)
	f.mu.Lock()
	defer f.mu.Unlock()
	return min(max(settle, 20*known.took), settleMost) //nolint:mnd // a twentieth of the time
}

// retry notes whether a part of the last pass failed, and returns how long to wait before it is tried again.
func (f *feeds) retry(known *feed, failed bool) time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !failed {
		known.failures = 0
		return 0
	}
	known.failures++
	return min(retryFirst<<min(known.failures-1, 16), retryLast) //nolint:mnd // far beyond the last, and no overflow
}

// leastInterval is how often a source is asked at most.
const leastInterval = time.Second

// refresh asks the source of s, if it is time, and reads the list. What is wrong is told by conditions; then the last
// good list stays in force.
func (r *Reconciler) refresh(ctx context.Context, s *berthv1alpha1.ProfileSync, f *feed, force bool) error {
	setting, err := r.secrets.setting(ctx, s.Spec.Source)
	if err != nil {
		return f.unusable(err)
	}
	if key := setting.hash() + string(s.Spec.Validation); f.key != key {
		since := ""
		if s.Status.Source != nil && s.Spec.Source.Git != nil {
			since = s.Status.Source.Commit
		}
		source, err := setting.open(r.secrets, r.secrets.namespace, since)
		if err != nil {
			return f.unusable(err)
		}
		f.close()
		f.key, f.source, force = key, source, true
	}
	if due, _ := r.feeds.due(f, r.Now()); !due && !force {
		return nil
	}
	r.feeds.later(f, r.Now(), max(s.Spec.Interval.Duration, leastInterval))
	files, err := f.source.Fetch(ctx)
	if err != nil {
		return f.unusable(err)
	}
	f.read(s, files, r.Now())
	return nil
}

// unusable notes why there is no list to be had. Only what is not the source's doing is an error to try again at once.
func (f *feed) unusable(err error) error {
	var typed *pmrsource.Error
	if !errors.As(err, &typed) {
		if errors.Is(err, context.Canceled) {
			return err
		}
		typed = &pmrsource.Error{Reason: pmrsource.Unreachable, Message: err.Error()}
	}
	f.told = []condition{failed(berthv1alpha1.ConditionSourceReady, string(typed.Reason), typed.Message)}
	if typed.Reason == pmrsource.SignatureInvalid || typed.Reason == pmrsource.SignatureMissing {
		f.told = []condition{
			succeeded(berthv1alpha1.ConditionSourceReady, "the source was read"),
			failed(berthv1alpha1.ConditionVerified, string(typed.Reason), typed.Message),
		}
	}
	return nil
}

// read makes a list of files.
func (f *feed) read(s *berthv1alpha1.ProfileSync, files pmrsource.Files, now time.Time) {
	f.seen = files.Provenance
	verified := condition{
		Type: berthv1alpha1.ConditionVerified, Status: metav1.ConditionTrue, Reason: berthv1alpha1.ReasonNotAskedFor,
		Message: "source.git.verify is not set: whoever can write to the source decides",
	}
	if files.Signer != "" {
		verified = succeeded(berthv1alpha1.ConditionVerified, "signed with the key "+files.Signer)
	}
	ready := succeeded(berthv1alpha1.ConditionSourceReady, "the source was read")
	if files.Unchanged && f.good != nil && f.good.provenance.Revision == files.Revision {
		f.told = []condition{ready, verified, succeeded(berthv1alpha1.ConditionValid, "the list can be used")}
		return
	}
	validation := pmr.Validation(s.Spec.Validation)
	doc, findings := pmr.Read(pmr.Input{Files: converted(files.Files), Overlays: converted(files.Overlays), Validation: validation})
	if !pmr.HasErrors(findings) {
		findings = append(findings, pmr.Lint(doc, pmr.LintRules{Validation: validation, Now: now})...)
	}
	if pmr.HasErrors(findings) {
		f.told = []condition{ready, verified, failed(berthv1alpha1.ConditionValid, berthv1alpha1.ReasonListInvalid, summary(findings, pmr.Error))}
		return
	}
	want := pmr.Resolve(doc)
	f.good = &list{want: want, hash: want.Hash(), provenance: files.Provenance}
	f.settled = nil // that was for the list before
	message := "the list can be used"
	if warnings := summary(findings, pmr.Warning); warnings != "" {
		message += "; " + warnings
	}
	f.told = []condition{ready, verified, succeeded(berthv1alpha1.ConditionValid, message)}
}

func converted(files []pmrsource.File) []pmr.File {
	out := make([]pmr.File, len(files))
	for i, file := range files {
		out[i] = pmr.File(file)
	}
	return out
}

// summary tells the first findings of a severity, and how many there are.
func summary(findings []pmr.Finding, severity pmr.Severity) string {
	const most = 10
	text, count := "", 0
	for _, finding := range findings {
		if finding.Severity != severity {
			continue
		}
		if count++; count <= most {
			text += fmt.Sprintf("; %s: %s", finding.Position, finding.Message)
		}
	}
	if count == 0 {
		return ""
	}
	return fmt.Sprintf("%d %ss%s", count, severity, text)
}
