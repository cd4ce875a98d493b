// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package kfam

import (
	_ "embed"
	"net/http"
)

// openAPIDocument describes the API in OpenAPI 3.1. A test holds it against the routes and the answers.
//
//go:embed openapi.json
var openAPIDocument []byte

func (s *Server) openAPI(w http.ResponseWriter, _ *request) error {
	_, err := w.Write(openAPIDocument)
	return err
}
