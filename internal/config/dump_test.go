package config

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// dump lists what a Config says, one leaf a line, by path: limits by their
// name, other lists by number. Lines of the file stand behind an @.
func dump(c Config) []string {
	var out []string
	dumpValue(&out, "", reflect.ValueOf(c))
	return out
}

func dumpValue(out *[]string, path string, v reflect.Value) {
	leaf := func(format string, args ...any) {
		*out = append(*out, path+" = "+fmt.Sprintf(format, args...))
	}
	switch x := v.Interface().(type) {
	case time.Duration:
		leaf("%s", durationOrZero(x))
	case netip.Prefix:
		leaf("%s", x)
	case *url.URL:
		leaf("%s", x)
	case Secret:
		leaf("%v", x)
	case [32]byte:
		leaf("%s…", hex.EncodeToString(x[:4]))
	case []byte:
		if x != nil {
			leaf("%d bytes", len(x))
		}
	case Limit:
		amount := amountText(x.Unit, x.Amount)
		if x.Unlimited {
			amount = "unlimited"
		}
		path += "." + x.Name
		leaf("%s of %s per %q @%d", amount, x.Unit, x.Per, x.Line)
	default:
		switch v.Kind() {
		case reflect.Struct:
			for i := range v.NumField() {
				if !v.Type().Field(i).IsExported() {
					continue
				}
				dumpValue(out, strings.TrimPrefix(path+"."+v.Type().Field(i).Name, "."), v.Field(i))
			}
		case reflect.Pointer:
			if !v.IsNil() {
				dumpValue(out, path, v.Elem())
			}
		case reflect.Slice:
			if !v.IsNil() && v.Len() == 0 {
				leaf("[]")
			}
			for i := range v.Len() {
				at := path + "[" + strconv.Itoa(i) + "]"
				if _, ok := v.Index(i).Interface().(Limit); ok {
					at = path
				}
				dumpValue(out, at, v.Index(i))
			}
		case reflect.Int:
			if strings.HasSuffix(path, ".Line") {
				leaf("@%d", v.Int())
				return
			}
			leaf("%v", x)
		default:
			leaf("%v", x)
		}
	}
}

func durationOrZero(d time.Duration) string {
	if d == 0 {
		return "0"
	}
	return durationText(d)
}

// without returns the lines that base does not have.
func without(lines, base []string) []string {
	has := make(map[string]bool)
	for _, l := range base {
		has[l] = true
	}
	var rest []string
	for _, l := range lines {
		if !has[l] {
			rest = append(rest, l)
		}
	}
	return rest
}
