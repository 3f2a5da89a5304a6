// Reads a dashboard strictly with the types that Grafana generates from its schema. An unknown field, a wrong type or a missing
// required field is an error.
//
// usage: grafana DASHBOARD
package main

import (
	"fmt"
	"os"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/grafana/grafana-foundation-sdk/go/stat"
	"github.com/grafana/grafana-foundation-sdk/go/table"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
)

func main() {
	// The panels and the queries of the dashboard.
	runtime := cog.NewRuntime()
	runtime.RegisterPanelcfgVariant(stat.VariantConfig())
	runtime.RegisterPanelcfgVariant(table.VariantConfig())
	runtime.RegisterPanelcfgVariant(timeseries.VariantConfig())
	runtime.RegisterDataqueryVariant(prometheus.VariantConfig())
	text, err := os.ReadFile(os.Args[1])
	check("read", err)
	var board dashboard.Dashboard
	check("parse", board.UnmarshalJSONStrict(text))
	check("validate", board.Validate())
	fmt.Println(len(board.Panels), "panels and rows")
}

func check(step string, err error) {
	// The generated code returns an empty list of errors as an error that is not nil.
	if err != nil && err.Error() != "" {
		fmt.Printf("%s: %v\n", step, err)
		os.Exit(1)
	}
}
