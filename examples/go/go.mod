module drover.example/cluster

go 1.19
