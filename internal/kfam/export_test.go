// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package kfam

// Holds says whether the server knows the profile and that it has its namespace.
func (s *Server) Holds(name string) bool {
	p := s.index.profile(name)
	return p != nil && s.index.holds(p)
}

// Routes are the method and path of every route.
func (s *Server) Routes() []string {
	var all []string
	for _, rt := range s.routes() {
		all = append(all, rt.method+" "+rt.path)
	}
	return all
}
