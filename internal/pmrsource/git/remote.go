// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package git

import (
	"bytes"
	"context"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"

	"github.com/go-git/go-git/v5/plumbing/format/pktline"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"

	"berth.dev/berth/internal/pmrsource"
	"berth.dev/berth/internal/pmrsource/web"
)

// service is the program of a git server that sends objects.
const service = "git-upload-pack"

// A remote is a repository on its server, for one Fetch.
type remote interface {
	// refs asks what there is.
	refs(ctx context.Context) (*packp.AdvRefs, error)
	// pack asks for objects. The answer begins where that of packp does.
	pack(ctx context.Context, request *packp.UploadPackRequest) (io.ReadCloser, error)
	// anyReachable says whether commits can be asked for that no ref names.
	anyReachable() bool
	close()
}

// decodeRefs reads what there is.
func decodeRefs(from io.Reader) (*packp.AdvRefs, error) {
	refs := packp.NewAdvRefs()
	err := refs.Decode(from)
	if errors.Is(err, packp.ErrEmptyAdvRefs) || err == nil && refs.IsEmpty() {
		return nil, pmrsource.Errorf(pmrsource.NotFound, "the repository is empty: commit the list to it")
	}
	return refs, err
}

// encode is a request as both kinds of server take it: all at once, without waiting for what they have to say meanwhile.
func encode(request *packp.UploadPackRequest) ([]byte, error) {
	var out bytes.Buffer
	if err := request.UploadRequest.Encode(&out); err != nil {
		return nil, err
	}
	if err := request.UploadHaves.Encode(&out, false); err != nil {
		return nil, err
	}
	err := pktline.NewEncoder(&out).EncodeString("done\n")
	return out.Bytes(), err
}

// webRemote is a repository on a web server.
type webRemote struct {
	at    *address
	base  *url.URL
	meter *pmrsource.Meter
}

// refs asks what there is. Where the server redirects that, the other questions follow.
func (w *webRemote) refs(ctx context.Context) (*packp.AdvRefs, error) {
	const path = "/info/refs"
	question := w.under(path)
	question.RawQuery = "service=" + service
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, question.String(), nil)
	if err != nil {
		return nil, err
	}
	body, err := w.ask(r, "application/x-"+service+"-advertisement")
	if err != nil {
		return nil, err
	}
	defer body.Close()
	if final := body.from; final.Path != question.Path || final.Host != question.Host {
		base, ok := strings.CutSuffix(final.Path, path)
		if !ok {
			return nil, pmrsource.Errorf(pmrsource.Unreachable, "%s redirects to %q, where no repository can be: check the url", w.at.host, web.Show(final))
		}
		w.base = &url.URL{Scheme: final.Scheme, Host: final.Host, Path: base}
	}
	return decodeRefs(w.meter.Reader(body))
}

func (w *webRemote) pack(ctx context.Context, request *packp.UploadPackRequest) (io.ReadCloser, error) {
	question, err := encode(request)
	if err != nil {
		return nil, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, w.under("/"+service).String(), bytes.NewReader(question))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/x-"+service+"-request")
	return w.ask(r, "application/x-"+service+"-result")
}

// anyReachable is true: a web server forgets between two questions what it advertised, so it looks.
func (*webRemote) anyReachable() bool { return true }

func (*webRemote) close() {}

// under is a path below the repository's.
func (w *webRemote) under(path string) *url.URL {
	made := *w.base
	made.Path, made.RawPath = strings.TrimSuffix(made.Path, "/")+path, ""
	return &made
}

// answer is the body of one, and where it came from in the end.
type answer struct {
	io.ReadCloser
	from *url.URL
}

// ask sends r and looks at what comes back without reading it.
func (w *webRemote) ask(r *http.Request, kind string) (*answer, error) {
	r.Header.Set("Accept", kind)
	r.Header.Set("User-Agent", "git/berth") // some servers tell git from a browser by this
	response, err := w.at.client.Do(r)
	if err != nil {
		return nil, err
	}
	err = w.at.client.Refused(response.StatusCode)
	if pmrsource.ReasonOf(err) == pmrsource.NotFound {
		err = pmrsource.Errorf(pmrsource.NotFound,
			"the repository %q does not exist (status %d): check the url; many servers also answer so where credentials are missing or may not read it",
			w.at.shown, response.StatusCode)
	}
	if got, _, _ := mime.ParseMediaType(response.Header.Get("Content-Type")); err == nil && got != kind {
		err = pmrsource.Errorf(pmrsource.NotFound, "%q is not the address of a repository: the server answers with %q instead of speaking git's smart protocol; check the url",
			w.at.shown, printable(got))
	}
	if err != nil {
		_ = response.Body.Close() // it is not read
		return nil, err
	}
	return &answer{ReadCloser: response.Body, from: response.Request.URL}, nil
}
