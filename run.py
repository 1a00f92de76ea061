import disco.cli.command

raise SystemExit(disco.cli.command.main())
