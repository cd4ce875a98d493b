// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package kfam

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/time/rate"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"

	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/kube/status"
	"berth.dev/berth/internal/render"
)

// teller writes Events: who gave whom which access. The library's recorder counts Events of one kind on one object
// together and keeps the first note, which would lose who else was added; and one Event for each change would be half
// as many writes again as the changes themselves. So the changes of a profile that wait are told in one Event.
type teller struct {
	client   client.Client
	log      logr.Logger
	instance string

	mu      sync.Mutex
	waiting map[topic][]string // what nobody was told of yet
	queue   workqueue.TypedRateLimitingInterface[topic]
}

// topic is what news are about: a profile, and what happened to it.
type topic struct {
	profile string
	uid     types.UID
	reason  string
}

const (
	// eventsPerSecond bounds how much of the API server's time goes into Events.
	eventsPerSecond, eventsBurst = 10, 20
	// maxNews is how many changes of one profile are kept while the API server can't be told. There are more in the log.
	maxNews = 1000
	// tellWithin is how long Events are still written when the server stops.
	tellWithin = 5 * time.Second
)

func newTeller(c client.Client, log logr.Logger) *teller {
	instance, err := os.Hostname()
	if err != nil {
		instance = "berth"
	}
	return &teller{
		client: c, log: log, instance: instance,
		waiting: map[topic][]string{},
		queue: workqueue.NewTypedRateLimitingQueue[topic](
			workqueue.NewTypedItemExponentialFailureRateLimiter[topic](time.Second, time.Minute)),
	}
}

// tell takes note of what was done with p.
func (t *teller) tell(p *kubeflowv1.Profile, reason string, notes ...string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	key := topic{p.Name, p.UID, reason}
	room := maxNews - len(t.waiting[key])
	t.waiting[key] = append(t.waiting[key], notes[:min(len(notes), room)]...)
	t.queue.Add(key)
}

func describe(c render.Contributor, change change, by string) string {
	verb := "removed"
	if change.added {
		verb = "added"
	}
	return fmt.Sprintf("%s %s (%s) by %s", verb, subjectName(c), change.role, by)
}

// platform is what a caller is called who named no user.
const platform = "the platform"

func subjectName(c render.Contributor) string {
	name := c.Subject.Name
	if c.Subject.Namespace != "" {
		name = c.Subject.Namespace + "/" + name
	}
	return c.Subject.Kind + " " + name
}

// run writes Events until ctx ends, and then what is left.
func (t *teller) run(ctx context.Context) {
	defer context.AfterFunc(ctx, t.queue.ShutDownWithDrain)()
	pace := rate.NewLimiter(eventsPerSecond, eventsBurst)
	for {
		key, shutdown := t.queue.Get()
		if shutdown {
			return
		}
		if err := t.tellAll(ctx, key, pace); err != nil {
			t.log.Error(err, "Could not write an Event; trying again", "profile", key.profile)
			t.queue.AddRateLimited(key)
		} else {
			t.queue.Forget(key)
		}
		t.queue.Done(key)
	}
}

// tellAll writes the news about a profile, in as few Events as hold them.
func (t *teller) tellAll(ctx context.Context, key topic, pace *rate.Limiter) error {
	for {
		if ctx.Err() == nil {
			_ = pace.Wait(ctx) // fails when ctx has ended: then there is nothing to wait for
		}
		t.mu.Lock()
		note, told := join(t.waiting[key])
		t.mu.Unlock()
		if told == 0 {
			return nil
		}
		if err := t.write(ctx, key, note); err != nil {
			return err
		}
		t.mu.Lock()
		if t.waiting[key] = t.waiting[key][told:]; len(t.waiting[key]) == 0 {
			delete(t.waiting, key)
		}
		t.mu.Unlock()
	}
}

// write is not cut short when the server stops.
func (t *teller) write(ctx context.Context, about topic, note string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), tellWithin)
	defer cancel()
	return t.client.Create(ctx, t.event(about, note))
}

// join puts as many notes into one as an Event can hold, and says how many those are.
func join(notes []string) (note string, count int) {
	const limit = 900
	length := 0
	for count < len(notes) {
		if length += len(notes[count]) + 2; count > 0 && length > limit {
			break
		}
		count++
	}
	return status.Note(strings.Join(notes[:count], "; ")), count
}

func (t *teller) event(about topic, note string) *eventsv1.Event {
	return &eventsv1.Event{
		ObjectMeta: metav1.ObjectMeta{GenerateName: about.profile + "-", Namespace: metav1.NamespaceDefault},
		EventTime:  metav1.NowMicro(),
		Type:       corev1.EventTypeNormal, Reason: about.reason, Action: "ManageAccess", Note: note,
		ReportingController: "berth-kfam", ReportingInstance: t.instance,
		Regarding: corev1.ObjectReference{
			APIVersion: kubeflowv1.GroupVersion.String(), Kind: "Profile", Name: about.profile, UID: about.uid,
		},
	}
}
