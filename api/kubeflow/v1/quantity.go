// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package v1

import (
	"encoding/json"
	"fmt"
)

// Quantity is a resource quantity as it was written: a number or text such as 500m or 16Gi. It is parsed where it is
// used.
//
// +kubebuilder:validation:Type=""
// +kubebuilder:validation:XIntOrString
// +kubebuilder:validation:MaxLength=64
// +kubebuilder:validation:Pattern=`^(\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))))?$`
// +kubebuilder:validation:XValidation:rule="type(self) == int || (!string(self).matches('[eE][+-]?[0-9]{3}') && isQuantity(string(self)))",message="must be a quantity such as 4, 500m or 16Gi"
type Quantity string

// UnmarshalJSON takes a JSON number or string.
func (q *Quantity) UnmarshalJSON(data []byte) error {
	if len(data) > 0 && data[0] == '"' {
		return json.Unmarshal(data, (*string)(q))
	}
	var n json.Number
	if err := json.Unmarshal(data, &n); err != nil {
		return fmt.Errorf("decode quantity %s: want a number or a string: %w", data, err)
	}
	*q = Quantity(n)
	return nil
}
