// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package pmrsource

import "io"

// Meter counts what servers send during one Fetch. What is too much is refused while it comes in, before it fills the
// memory.
type Meter struct {
	limit int64
	read  int64
}

// NewMeter lets limit bytes through.
func NewMeter(limit int64) *Meter { return &Meter{limit: limit} }

// Reader reads from r until the meter has counted too much, here or elsewhere.
func (m *Meter) Reader(r io.Reader) io.Reader { return metered{meter: m, from: r} }

// Err is the *Error of too much; nil as long as it is not. It is there because libraries take errors apart and keep the
// text alone.
func (m *Meter) Err() error {
	if m.read <= m.limit {
		return nil
	}
	return Errorf(TooLarge, "the server sent more than %s, which is the limit for one fetch: keep large files out of the repository, or raise the limit",
		Size(m.limit))
}

type metered struct {
	meter *Meter
	from  io.Reader
}

// Read counts what it reads.
func (r metered) Read(p []byte) (int, error) {
	if err := r.meter.Err(); err != nil {
		return 0, err
	}
	if left := r.meter.limit - r.meter.read + 1; int64(len(p)) > left { // one more, to see that there is more
		p = p[:left]
	}
	n, err := r.from.Read(p)
	r.meter.read += int64(n)
	if tooMuch := r.meter.Err(); tooMuch != nil {
		return n - 1, tooMuch
	}
	return n, err
}
