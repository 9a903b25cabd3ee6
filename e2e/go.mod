module github.com/penstock-dev/penstock/e2e

go 1.26.0

replace github.com/penstock-dev/penstock => ../
