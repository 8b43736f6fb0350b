package config

import "reflect"

// Same tells whether two configurations ask for the same, wherever it stands
// in their files.
func Same(a, b *Config) bool {
	x, y := *a, *b
	x.places, y.places = places{}, places{}
	return reflect.DeepEqual(x, y)
}
