from disco.__main__ import main

raise SystemExit(main())
