import disco.cli

raise SystemExit(disco.cli.main())
